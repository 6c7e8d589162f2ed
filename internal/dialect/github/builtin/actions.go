package builtin

// table is the contract of every built-in action: the union of the inputs and
// outputs that its published versions declare.
func (s *Set) table() []*Action {
	cacheInputs := []Input{
		{Name: "path", Required: true},
		{Name: "key", Required: true},
		{Name: "restore-keys"},
		{Name: "upload-chunk-size"},
		{Name: "enableCrossOsArchive", Default: "false"},
		{Name: "fail-on-cache-miss", Default: "false"},
		{Name: "lookup-only", Default: "false"},
		{Name: "save-always", Default: "false"},
	}
	return []*Action{
		{
			Name: "actions/checkout",
			Inputs: []Input{
				{Name: "repository"}, {Name: "ref"}, {Name: "token"},
				{Name: "ssh-key"}, {Name: "ssh-known-hosts"}, {Name: "ssh-strict", Default: "true"}, {Name: "ssh-user", Default: "git"},
				{Name: "persist-credentials", Default: "true"},
				{Name: "path"}, {Name: "clean", Default: "true"}, {Name: "filter"},
				{Name: "sparse-checkout"}, {Name: "sparse-checkout-cone-mode", Default: "true"},
				{Name: "fetch-depth", Default: "1"}, {Name: "fetch-tags", Default: "false"}, {Name: "show-progress", Default: "true"},
				{Name: "reference"}, {Name: "lfs", Default: "false"}, {Name: "submodules", Default: "false"},
				{Name: "set-safe-directory", Default: "true"}, {Name: "github-server-url"},
				{Name: "allow-unsafe-pr-checkout", Default: "false"},
			},
			Outputs: []string{"ref", "commit"},
			main:    checkout, aloof: keepsTree,
		},
		{
			Name: "actions/cache", Inputs: cacheInputs,
			Outputs: []string{"cache-hit", "cache-primary-key", "cache-matched-key"},
			Post:    true, PostIf: "success()",
			main: restoreCache, post: saveMissedCache,
		},
		{
			Name: "actions/cache/restore", Inputs: cacheInputs,
			Outputs: []string{"cache-hit", "cache-primary-key", "cache-matched-key"},
			main:    restoreCache,
		},
		{
			Name: "actions/cache/save",
			Inputs: []Input{
				{Name: "path", Required: true}, {Name: "key", Required: true},
				{Name: "upload-chunk-size"}, {Name: "enableCrossOsArchive", Default: "false"},
			},
			main: saveCache,
		},
		{
			Name: "actions/upload-artifact",
			Inputs: []Input{
				{Name: "name", Default: "artifact"}, {Name: "path", Required: true},
				{Name: "if-no-files-found", Default: "warn"}, {Name: "retention-days"},
				{Name: "compression-level", Default: "6"}, {Name: "overwrite", Default: "false"},
				{Name: "include-hidden-files", Default: "false"}, {Name: "archive", Default: "true"},
			},
			Outputs: []string{"artifact-id", "artifact-url", "artifact-digest"},
			main:    uploadArtifact,
		},
		{
			Name: "actions/upload-artifact/merge",
			Inputs: []Input{
				{Name: "name", Default: "merged-artifacts", Required: true}, {Name: "pattern", Default: "*"},
				{Name: "separate-directories", Default: "false"}, {Name: "retention-days"}, {Name: "compression-level", Default: "6"},
				{Name: "delete-merged", Default: "false"}, {Name: "include-hidden-files", Default: "false"},
			},
			Outputs: []string{"artifact-id", "artifact-url", "artifact-digest"},
			main:    mergeArtifacts,
		},
		{
			Name: "actions/download-artifact",
			Inputs: []Input{
				{Name: "name"}, {Name: "artifact-ids"}, {Name: "path"}, {Name: "pattern"},
				{Name: "merge-multiple", Default: "false"}, {Name: "github-token"}, {Name: "repository"}, {Name: "run-id"},
				{Name: "skip-decompress", Default: "false"}, {Name: "digest-mismatch", Default: "error"},
			},
			Outputs: []string{"download-path"},
			main:    downloadArtifact,
		},
		{
			Name: "actions/setup-go",
			Inputs: []Input{
				{Name: "go-version"}, {Name: "go-version-file"}, {Name: "check-latest", Default: "false"}, {Name: "token"},
				{Name: "cache", Default: "true"}, {Name: "cache-dependency-path"}, {Name: "architecture"}, {Name: "go-download-base-url"},
			},
			Outputs: []string{"go-version", "cache-hit"},
			main:    setupGo,
		},
		{
			Name: "actions/setup-node",
			Inputs: []Input{
				{Name: "node-version"}, {Name: "node-version-file"}, {Name: "version"}, {Name: "architecture"},
				{Name: "check-latest", Default: "false"}, {Name: "registry-url"}, {Name: "scope"}, {Name: "token"},
				{Name: "cache"}, {Name: "package-manager-cache", Default: "true"}, {Name: "cache-dependency-path"},
				{Name: "always-auth"}, {Name: "mirror"}, {Name: "mirror-token"},
			},
			Outputs: []string{"cache-hit", "node-version"},
			main:    setupNode,
		},
		{
			Name: "actions/setup-python",
			Inputs: []Input{
				{Name: "python-version"}, {Name: "python-version-file"}, {Name: "cache"}, {Name: "architecture"},
				{Name: "check-latest", Default: "false"}, {Name: "token"}, {Name: "cache-dependency-path"},
				{Name: "update-environment", Default: "true"}, {Name: "allow-prereleases", Default: "false"},
				{Name: "freethreaded", Default: "false"}, {Name: "pip-version"}, {Name: "pip-install"},
			},
			Outputs: []string{"python-version", "cache-hit", "python-path"},
			main:    setupPython,
		},
		{
			Name: "actions/setup-java",
			Inputs: []Input{
				{Name: "java-version"}, {Name: "java-version-file"}, {Name: "distribution"}, {Name: "java-package", Default: "jdk"},
				{Name: "architecture"}, {Name: "jdkFile"}, {Name: "jdk-file"}, {Name: "check-latest", Default: "false"},
				{Name: "force-download", Default: "false"}, {Name: "set-default", Default: "true"},
				{Name: "verify-signature", Default: "false"}, {Name: "verify-signature-public-key"},
				{Name: "server-id", Default: "github"},
				{Name: "server-username", Default: "GITHUB_ACTOR"}, {Name: "server-password", Default: "GITHUB_TOKEN"},
				{Name: "server-username-env-var"}, {Name: "server-password-env-var"},
				{Name: "settings-path"}, {Name: "overwrite-settings", Default: "true"},
				{Name: "gpg-private-key"}, {Name: "gpg-passphrase"}, {Name: "gpg-passphrase-env-var"},
				{Name: "cache"}, {Name: "cache-jdk"}, {Name: "cache-dependency-path"}, {Name: "cache-path"}, {Name: "cache-read-only"},
				{Name: "job-status"}, {Name: "token"}, {Name: "mvn-toolchain-id"}, {Name: "mvn-toolchain-vendor"},
				{Name: "show-download-progress"}, {Name: "problem-matcher", Default: "true"},
			},
			Outputs: []string{"distribution", "version", "path", "cache-hit", "cache-primary-key"},
			main:    setupJava,
		},
	}
}
