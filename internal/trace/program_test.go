package trace

import (
	"bytes"
	"os"
	"runtime"
	"strings"
	"testing"
)

func TestInterpreter(t *testing.T) {
	t.Parallel()
	for head, want := range map[string]string{
		"#!/bin/sh\necho":                "/bin/sh",
		"#! /usr/bin/env python3\n":      "/usr/bin/env",
		"#!\t/bin/sh\t-e":                "/bin/sh",
		"#!\n/bin/sh":                    "",
		"#!":                             "",
		"":                               "",
		"\x7fELF":                        "",
		"echo":                           "",
		"#!/" + strings.Repeat("x", 300): "/" + strings.Repeat("x", maxShebang-3),
	} {
		if got := interpreter(strings.NewReader(head)); got != want {
			t.Errorf("%q: %q, want %q", head, got, want)
		}
	}
}

func TestInterpreterOfPrograms(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("other programs")
	}
	if got := interpreterOf("/bin/sh"); got != "" && got[0] != '/' {
		t.Errorf("%q", got)
	} else if got == "" {
		t.Log("/bin/sh is static here")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if got := interpreterOf(self); got != "" && got[0] != '/' {
		t.Errorf("%q", got)
	}
	if got := interpreterOf(t.TempDir()); got != "" {
		t.Errorf("%q", got)
	}
}

func FuzzInterpreter(f *testing.F) {
	f.Add([]byte("#!/bin/sh\n"))
	if b, err := os.ReadFile("/bin/true"); err == nil {
		f.Add(b[:min(len(b), 4096)])
	}
	wide := make([]byte, 200)
	copy(wide, "\x7fELF\x02\x01")
	wide[32], wide[54], wide[56] = 64, 56, 2
	wide[64], wide[64+8], wide[64+32] = 3, 180, 10
	copy(wide[180:], "/lib/ld\x00")
	f.Add(wide)
	f.Fuzz(func(t *testing.T, b []byte) {
		if got := interpreter(bytes.NewReader(b)); len(got) > maxPath {
			t.Errorf("%d bytes", len(got))
		}
	})
}
