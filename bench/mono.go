package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// monorepo is a repository of many small packages that need each other, with
// the same build written down for Fairlead (a workflow with a job for each
// package) and for Ninja. A package's build reads its own files and the first
// file of each package it needs, and writes dist/out.txt: next to nothing, so
// that the runner is measured and not the build.
type monorepo struct{ packages, files int }

// needs are the packages that package i needs: all of them are earlier ones.
func (monorepo) needs(i int) []int {
	if i == 0 {
		return nil
	}
	list := []int{(i - 1) / 2}
	if i > 10 {
		list = append(list, i-7)
	}
	if i > 50 {
		list = append(list, i*31%(i-1))
	}
	slices.Sort(list)
	return slices.Compact(list)
}

func (monorepo) name(i int) string { return fmt.Sprintf("p%04d", i) }

// write writes the files.
func (m monorepo) write(dir string) error {
	for i := range m.packages {
		if err := m.writePackage(dir, i); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(dir, ".gitignore"), []byte("dist/\n.ninja_*\n"), 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "build.ninja"), m.ninja(), 0o644); err != nil {
		return err
	}
	return workflow(repeat(m.packages, m.job))(dir)
}

func (m monorepo) writePackage(dir string, i int) error {
	root := filepath.Join(dir, "packages", m.name(i))
	if err := os.MkdirAll(filepath.Join(root, "src"), 0o755); err != nil {
		return err
	}
	for f := range m.files {
		text := fmt.Sprintf("package %d file %d\n", i, f) + strings.Repeat("one small thing after another\n", 40)
		if err := os.WriteFile(filepath.Join(root, "src", fmt.Sprintf("f%d.txt", f)), []byte(text), 0o644); err != nil {
			return err
		}
	}
	var needs []string
	for _, n := range m.needs(i) {
		needs = append(needs, fmt.Sprintf("%q: \"*\"", "@mono/"+m.name(n)))
	}
	text := fmt.Sprintf("{\n  \"name\": \"@mono/%s\",\n  \"version\": \"1.0.0\",\n  \"dependencies\": {%s}\n}\n", m.name(i), strings.Join(needs, ", "))
	return os.WriteFile(filepath.Join(root, "package.json"), []byte(text), 0o644)
}

// build is the command of a package's build, with the paths of the packages
// around it.
func (m monorepo) build(i int, own, others string) string {
	cmd := fmt.Sprintf("mkdir -p %sdist && cat %[1]ssrc/*.txt", own)
	for _, n := range m.needs(i) {
		cmd += fmt.Sprintf(" %s%s/src/f0.txt", others, m.name(n))
	}
	return cmd + " > " + own + "dist/out.txt"
}

// job is a package's job in the workflow.
func (m monorepo) job(i int) string {
	needs := ""
	for k, n := range m.needs(i) {
		if k > 0 {
			needs += ", "
		}
		needs += m.name(n)
	}
	if needs != "" {
		needs = "    needs: [" + needs + "]\n"
	}
	return job(m.name(i), needs, m.build(i, "", "../")+"\n        working-directory: packages/"+m.name(i))
}

// ninja is the build file of the same build.
func (m monorepo) ninja() []byte {
	var b strings.Builder
	b.WriteString("rule build\n  command = $cmd\n")
	for i := range m.packages {
		own := "packages/" + m.name(i) + "/"
		fmt.Fprintf(&b, "build %sdist/out.txt: build", own)
		for f := range m.files {
			fmt.Fprintf(&b, " %ssrc/f%d.txt", own, f)
		}
		for _, n := range m.needs(i) {
			fmt.Fprintf(&b, " packages/%s/src/f0.txt packages/%[1]s/dist/out.txt", m.name(n))
		}
		fmt.Fprintf(&b, "\n  cmd = %s\n", m.build(i, own, "packages/"))
	}
	return []byte(b.String())
}
