package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"
)

// codeHost starts a host that speaks as much of Gitea as a release needs, has CODEHOST name
// it, and writes what it is given to a directory: files, and the notes of each release.
func codeHost(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: codehost DIR")
	}
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o755))
	var mu sync.Mutex
	var tag string
	release := map[string]any{"id": 1, "draft": true, "assets": []any{}}
	answer := func(w http.ResponseWriter, code int, v any) {
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(v)
	}
	m := http.NewServeMux()
	const repo = "/api/v1/repos/team/app"
	m.HandleFunc("GET "+repo+"/pulls/{n}", func(w http.ResponseWriter, r *http.Request) {
		answer(w, 200, map[string]any{"labels": []any{map[string]any{"name": map[string]string{"7": "bug", "8": "enhancement"}[r.PathValue("n")]}}})
	})
	m.HandleFunc("GET "+repo+"/releases/tags/{tag}", func(w http.ResponseWriter, r *http.Request) { answer(w, 404, nil) })
	m.HandleFunc("GET "+repo+"/releases", func(w http.ResponseWriter, r *http.Request) {
		list := []any{}
		if tag != "" && r.FormValue("page") == "1" {
			list = append(list, release)
		}
		answer(w, 200, list)
	})
	keep := func(w http.ResponseWriter, r *http.Request) {
		var in map[string]any
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			answer(w, 400, nil)
			return
		}
		for k, v := range in {
			release[k] = v
		}
		tag = fmt.Sprint(in["tag_name"])
		release["html_url"] = "https://git.example.org/team/app/releases/tag/" + tag
		_ = os.WriteFile(filepath.Join(dir, "notes"), []byte(fmt.Sprint(release["body"])), 0o644)
		_ = os.WriteFile(filepath.Join(dir, "state"), fmt.Appendf(nil, "%s draft %v\n", tag, release["draft"]), 0o644)
		answer(w, 201, release)
	}
	m.HandleFunc("POST "+repo+"/releases", keep)
	m.HandleFunc("PATCH "+repo+"/releases/1", keep)
	m.HandleFunc("POST "+repo+"/releases/1/assets", func(w http.ResponseWriter, r *http.Request) {
		file, header, err := r.FormFile("attachment")
		if err != nil {
			answer(w, 400, nil)
			return
		}
		text, _ := io.ReadAll(file)
		_ = os.WriteFile(filepath.Join(dir, header.Filename), text, 0o644)
		release["assets"] = append(release["assets"].([]any), map[string]any{"name": header.Filename, "size": len(text)})
		answer(w, 201, map[string]any{})
	})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if !strings.HasSuffix(r.Header.Get("Authorization"), " t0ken") {
			answer(w, 401, map[string]any{"message": "who are you?"})
			return
		}
		m.ServeHTTP(w, r)
	}))
	ts.Defer(s.Close)
	ts.Setenv("CODEHOST", s.URL)
}
