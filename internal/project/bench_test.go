package project

import "testing"

func BenchmarkRead(b *testing.B) {
	t := tree("reuse:\n  size: 20GB\n  zones: [~/.cache/mytool, $MYCACHE]\n  steps:\n  - {match: build/npm ci, network: pinned}\n  - {match: '*/Fetch rates', network: ignore, max-age: 24h}\n  - {match: 'deploy*/*', never: true}\n")
	b.ReportAllocs()
	for b.Loop() {
		if _, problems, err := Read(t); err != nil || len(problems) > 0 {
			b.Fatal(err, problems)
		}
	}
}
