package suite

import (
	"fmt"
	"strings"
	"testing"
)

func TestMoves(t *testing.T) {
	t.Parallel()
	// A test is "suite>group>name", with @file and a variant after !.
	tests := func(list string) (named []Named) {
		for _, text := range strings.Fields(list) {
			text, variant, _ := strings.Cut(text, "!")
			text, file, _ := strings.Cut(text, "@")
			parts := strings.Split(text, ">")
			named = append(named, Named{ID: ID{Key: text, Variant: variant}, Suite: parts[0], Groups: parts[1 : len(parts)-1], Name: parts[len(parts)-1], File: file})
		}
		return named
	}
	for _, tt := range []struct {
		name, vanished, came string
		renames              map[string]string
		want                 string
	}{
		{"nothing", "", "", nil, ""},
		{"the file was moved", "old_test.py>test_a old_test.py>G>test_b", "new/x.py>test_a new/x.py>G>test_b", map[string]string{"old_test.py": "new/x.py"},
			"old_test.py>G>test_b to new/x.py>G>test_b: its file was moved\nold_test.py>test_a to new/x.py>test_a: its file was moved"},
		{"the file was moved, and is no suite", "com.A>t@a/A.java", "org.Q>t@b/Q.java", map[string]string{"a/A.java": "b/Q.java"}, "com.A>t to org.Q>t: its file was moved"},
		{"the suite was renamed", "com.shop.CartTest>adds", "com.shop.BasketTest>adds", nil, "com.shop.CartTest>adds to com.shop.BasketTest>adds: its suite was renamed"},
		{"another suite", "com.shop.CartTest>adds", "org.bank.Accounts>adds", nil, ""},
		{"another name", "com.shop.CartTest>adds", "com.shop.CartTest>removes", nil, ""},
		{"another variant", "com.shop.CartTest>adds!linux", "com.shop.BasketTest>adds!windows", nil, ""},
		{"the better of two", "a.b.Cart>t", "a.b.CartMore>t a.x.Other>t", nil, "a.b.Cart>t to a.b.CartMore>t: its suite was renamed"},
		{"doubt", "a.b.Cart>t", "a.b.One>t a.b.Two>t", nil, ""},
		{"two into one", "a.b.One>t a.b.Two>t", "a.b.Cart>t", nil, ""},
		{"renames before likeness", "a/x_test>t a/y_test>t", "a/z_test>t a/w_test>t", map[string]string{"a/x_test": "a/z_test"},
			"a/x_test>t to a/z_test>t: its file was moved\na/y_test>t to a/w_test>t: its suite was renamed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, m := range Moves(tests(tt.vanished), tests(tt.came), tt.renames) {
				got = append(got, fmt.Sprintf("%s to %s: %s", m.From.Key, m.To.Key, m.Why))
			}
			if s := strings.Join(got, "\n"); s != tt.want {
				t.Errorf("got:\n%s\nwant:\n%s", s, tt.want)
			}
		})
	}
}

func TestMovesOfManyNamesakes(t *testing.T) {
	t.Parallel()
	var vanished, came []Named
	for i := range maxMoves {
		vanished = append(vanished, Named{ID: ID{Key: fmt.Sprint("a", i)}, Suite: fmt.Sprint("suite a", i), Name: "same"})
		came = append(came, Named{ID: ID{Key: fmt.Sprint("b", i)}, Suite: fmt.Sprint("suite b", i), Name: "same"})
	}
	if got := Moves(vanished, came, nil); len(got) != 0 {
		t.Errorf("%d moves among namesakes", len(got))
	}
}
