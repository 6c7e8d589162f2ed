package groovy

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// texts are the arguments as texts.
func (t *Thread) texts(args []Value) ([]string, error) {
	out := make([]string, len(args))
	for i, a := range args {
		s, err := t.Text(a)
		if err != nil {
			return nil, err
		}
		out[i] = s
	}
	return out, nil
}

func listOf(parts []string) *List {
	l := &List{Items: make([]Value, len(parts))}
	for i, s := range parts {
		l.Items[i] = s
	}
	return l
}

// stringMethod calls a method of a String.
func (t *Thread) stringMethod(s, name string, args []Value) (Value, error) {
	if err := t.alloc(len(s)/4 + 16); err != nil {
		return nil, err
	}
	v, err := t.stringQuery(s, name, args)
	if err == nil || !isMissing(err) {
		return v, err
	}
	v, err = t.stringChange(s, name, args)
	if err == nil {
		if text, ok := v.(string); ok {
			err = t.alloc(len(text))
		}
	}
	if err == nil || !isMissing(err) {
		return v, err
	}
	v, err = t.stringLines(s, name, args)
	if err == nil || !isMissing(err) {
		return v, err
	}
	switch name {
	case "each", "collect", "find", "findAll", "any", "every", "eachWithIndex", "inject", "toList", "toSet", "sum", "count", "max", "min",
		"findIndexOf", "unique", "sort", "groupBy", "countBy", "withIndex", "collate", "indexed", "getChars", "toCharArray", "chars", "collectEntries", "join", "first", "last", "head", "tail", "iterator", "isCase", "init":
		if name == "isCase" {
			return t.Equal(s, single(args))
		}
		items, err := t.iterate(s)
		if err != nil {
			return nil, err
		}
		l := &List{Items: items}
		if name == "getChars" || name == "toCharArray" || name == "chars" {
			l.Array = true
			return l, nil
		}
		r, err := t.listMethod(l, name, args)
		if err == nil && name == "each" {
			return s, nil
		}
		return r, err
	}
	return nil, ErrMissing
}

// stringQuery are the methods that ask something of a String.
func (t *Thread) stringQuery(s, name string, args []Value) (Value, error) {
	switch len(args) {
	case 0:
		switch name {
		case "length", "size":
			return int32(newRunes(s).len()), nil
		case "isEmpty":
			return s == "", nil
		case "isBlank", "isAllWhitespace":
			return strings.TrimSpace(s) == "", nil
		case "isNumber", "isBigDecimal", "isDouble", "isFloat":
			_, err := parseDecimal(strings.TrimSpace(s))
			return err == nil, nil
		case "isInteger", "isLong", "isBigInteger":
			class := name[2:]
			_, err := t.parseNumber(class, strings.TrimSpace(s))
			return err == nil, nil
		case "isDigit", "isLetter", "isUpperCase", "isLowerCase", "isWhitespace", "isLetterOrDigit":
			r, _ := utf8.DecodeRuneInString(s)
			return runeIs(name, r), nil
		case "toInteger", "toLong", "toBigInteger", "toDouble", "toFloat", "toBigDecimal":
			return t.parseNumber(name[2:], strings.TrimSpace(s))
		case "toBoolean":
			switch strings.ToLower(strings.TrimSpace(s)) {
			case "y", "true", "1":
				return true, nil
			}
			return false, nil
		case "booleanValue":
			return s == "true", nil
		case "getBytes":
			l := &List{Array: true}
			if err := t.alloc(16 * len(s)); err != nil {
				return nil, err
			}
			for i := range len(s) {
				l.Items = append(l.Items, int32(int8(s[i])))
			}
			return l, nil
		case "md5":
			return fmt.Sprintf("%x", md5.Sum([]byte(s))), nil
		case "sha256":
			return fmt.Sprintf("%x", sha256.Sum256([]byte(s))), nil
		case "charValue", "toURI", "toURL", "toCharacter":
			return s, nil
		case "intValue":
			if r := []rune(s); len(r) == 1 {
				return int32(r[0]), nil
			}
		case "next", "previous":
			r := []rune(s)
			if len(r) == 0 {
				return nil, t.Throw("java.lang.StringIndexOutOfBoundsException", "String index out of range: -1")
			}
			if name == "next" {
				r[len(r)-1]++
			} else {
				r[len(r)-1]--
			}
			return string(r), nil
		case "bitwiseNegate":
			return t.pattern(s)
		case "decodeBase64":
			raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(s))
			if err != nil {
				return nil, t.Throw("java.lang.RuntimeException", "bad character in base64 value")
			}
			return string(raw), nil
		case "encodeBase64":
			return base64.StdEncoding.EncodeToString([]byte(s)), nil
		case "encodeHex":
			return hex.EncodeToString([]byte(s)), nil
		}
	case 1, 2:
		switch name {
		case "getBytes":
			return t.stringQuery(s, name, nil)
		case "equals":
			other, ok := args[0].(string)
			return ok && other == s, nil
		case "compareTo":
			n, err := t.compare(s, args[0])
			return int32(n), err
		case "toInteger", "toLong", "toBigInteger":
			n, ok := new(big.Int).SetString(s, max(2, min(36, int(asInt32(args[0])))))
			if !ok || len(s) > 1000 {
				return nil, t.Throw("java.lang.NumberFormatException", "For input string: %q", s)
			}
			return convertNumber(name[2:], n), nil
		case "getAt":
			if len(args) == 1 {
				return t.textAt(s, args[0])
			}
		case "charAt", "codePointAt":
			r := newRunes(s)
			i := asInt64(args[0])
			if i < 0 || i >= int64(r.len()) {
				return nil, t.Throw("java.lang.StringIndexOutOfBoundsException", "String index out of range: %d", i)
			}
			c := r.slice(int(i), int(i)+1)
			if name == "codePointAt" {
				u, _ := utf8.DecodeRuneInString(c)
				return int32(u), nil
			}
			return c, nil
		}
		p, err := t.texts(args)
		if err != nil {
			return nil, err
		}
		switch name {
		case "contains":
			return strings.Contains(s, p[0]), nil
		case "startsWith":
			if len(args) == 2 {
				r := newRunes(s)
				i := int(asInt64(args[1]))
				return i >= 0 && i <= r.len() && strings.HasPrefix(r.slice(i, r.len()), p[0]), nil
			}
			return strings.HasPrefix(s, p[0]), nil
		case "endsWith":
			return strings.HasSuffix(s, p[0]), nil
		case "equalsIgnoreCase":
			return args[0] != nil && strings.EqualFold(s, p[0]), nil
		case "containsIgnoreCase":
			return strings.Contains(strings.ToLower(s), strings.ToLower(p[0])), nil
		case "startsWithIgnoreCase":
			return strings.HasPrefix(strings.ToLower(s), strings.ToLower(p[0])), nil
		case "endsWithIgnoreCase":
			return strings.HasSuffix(strings.ToLower(s), strings.ToLower(p[0])), nil
		case "compareToIgnoreCase":
			return int32(compareText(strings.ToLower(s), strings.ToLower(p[0]))), nil
		case "contentEquals":
			return s == p[0], nil
		case "indexOf", "lastIndexOf":
			return t.indexOf(s, p[0], name, args), nil
		case "count":
			if _, ok := args[0].(*Closure); ok {
				return nil, ErrMissing
			}
			if p[0] == "" {
				return int32(0), nil
			}
			return int32(strings.Count(s, p[0])), nil
		case "matches":
			pattern, err := t.patternOf(args[0])
			if err != nil {
				return nil, err
			}
			return t.matches(pattern, s)
		case "isCase":
			return s == p[0], nil
		}
	}
	return nil, ErrMissing
}

func runeIs(name string, r rune) bool {
	switch name {
	case "isDigit":
		return unicode.IsDigit(r)
	case "isLetter":
		return unicode.IsLetter(r)
	case "isUpperCase":
		return unicode.IsUpper(r)
	case "isLowerCase":
		return unicode.IsLower(r)
	case "isWhitespace":
		return unicode.IsSpace(r)
	}
	return unicode.IsLetter(r) || unicode.IsDigit(r)
}

func (t *Thread) indexOf(s, part, name string, args []Value) Value {
	if c, ok := args[0].(int32); ok { // a character's number
		part = string(rune(c))
	}
	r := newRunes(s)
	from := 0
	if name == "lastIndexOf" {
		to := r.len()
		if len(args) == 2 {
			to = min(to, int(asInt64(args[1]))+newRunes(part).len())
		}
		if to < 0 {
			return int32(-1)
		}
		return int32(r.position(strings.LastIndex(r.slice(0, to), part)))
	}
	if len(args) == 2 {
		from = max(0, min(int(asInt64(args[1])), r.len()))
	}
	rest := newRunes(r.slice(from, r.len()))
	i := rest.position(strings.Index(rest.s, part))
	if i < 0 {
		return int32(-1)
	}
	return int32(i + from)
}

// stringChange are the methods that make another String, or parts of one.
func (t *Thread) stringChange(s, name string, args []Value) (Value, error) {
	switch len(args) {
	case 0:
		switch name {
		case "toString", "trim", "strip", "toUpperCase", "toLowerCase", "capitalize", "uncapitalize", "reverse", "intern", "stripLeading", "stripTrailing",
			"stripIndent", "stripMargin", "chomp", "chop", "denormalize", "normalize", "expand", "unexpand":
			return changeText(s, name), nil
		case "split":
			parts := strings.Fields(s)
			l := listOf(parts)
			l.Array = true
			return l, t.alloc(32 * len(parts))
		case "tokenize":
			parts := strings.Fields(s)
			return listOf(parts), t.alloc(32 * len(parts))
		}
		return nil, ErrMissing
	}
	// With a closure.
	if c, ok := args[len(args)-1].(*Closure); ok {
		switch name {
		case "replaceAll", "replaceFirst":
			if len(args) == 2 {
				return t.replaceWith(s, args[0], c, name == "replaceFirst")
			}
		case "eachMatch", "findAll", "find":
			if len(args) == 2 {
				return t.matchesOf(s, name, args[0], c)
			}
		case "takeWhile", "dropWhile":
			i := 0
			for _, r := range s {
				v, err := t.Call(c, string(r))
				if err != nil {
					return nil, err
				}
				if ok, err := t.Truth(v); err != nil {
					return nil, err
				} else if !ok {
					break
				}
				i += utf8.RuneLen(r)
			}
			if name == "takeWhile" {
				return s[:i], nil
			}
			return s[i:], nil
		case "collectReplacements":
			var b strings.Builder
			for _, r := range s {
				v, err := t.Call(c, string(r))
				if err != nil {
					return nil, err
				}
				if v == nil {
					b.WriteRune(r)
				} else {
					b.WriteString(plain(v))
				}
			}
			return b.String(), nil
		}
		return nil, ErrMissing
	}
	switch name {
	case "getAt", "replaceAll", "replaceFirst", "split", "find", "findAll", "minus":
		if v, err := t.regexText(s, name, args); err == nil || !isMissing(err) {
			return v, err
		}
	case "substring", "subSequence":
		r := newRunes(s)
		from, to := asInt64(args[0]), int64(r.len())
		if len(args) == 2 {
			to = asInt64(args[1])
		}
		if from < 0 || to > int64(r.len()) || from > to {
			return nil, t.Throw("java.lang.StringIndexOutOfBoundsException", "begin %d, end %d, length %d", from, to, r.len())
		}
		return r.slice(int(from), int(to)), nil
	case "take", "drop", "takeRight", "dropRight":
		r := newRunes(s)
		n := int(max(0, min(asInt64(args[0]), int64(r.len()))))
		switch name {
		case "take":
			return r.slice(0, n), nil
		case "drop":
			return r.slice(n, r.len()), nil
		case "takeRight":
			return r.slice(r.len()-n, r.len()), nil
		}
		return r.slice(0, r.len()-n), nil
	case "multiply", "repeat":
		n := asInt64(args[0])
		if n < 0 {
			return nil, t.Throw("java.lang.IllegalArgumentException", "multiply() should be called with a number of 0 or greater not: %d", n)
		}
		if n > maxValue || n*int64(len(s)) > maxValue {
			return nil, t.alloc(maxValue + 1)
		}
		if err := t.alloc(int(n) * len(s)); err != nil {
			return nil, err
		}
		return strings.Repeat(s, int(n)), nil
	case "padLeft", "padRight", "center":
		return t.pad(s, name, args)
	case "format", "formatted":
		return t.format(append([]Value{s}, args...))
	case "leftShift":
		text, err := t.Text(args[0])
		return &Builder{text: []byte(s + text)}, err
	case "concat", "plus":
		text, err := t.Text(args[0])
		if err != nil {
			return nil, err
		}
		return s + text, nil
	}
	p, err := t.texts(args)
	if err != nil {
		return nil, err
	}
	switch name {
	case "replace":
		if m, ok := args[0].(*Map); ok {
			var pairs []string
			for k, v := range m.All() {
				pairs = append(pairs, plain(k), plain(v))
			}
			return strings.NewReplacer(pairs...).Replace(s), nil
		}
		if len(args) != 2 {
			return nil, ErrMissing
		}
		if n := strings.Count(s, p[0]); n > 0 {
			if err := t.alloc(n * len(p[1])); err != nil {
				return nil, err
			}
		}
		return strings.ReplaceAll(s, p[0], p[1]), nil
	case "tokenize":
		parts := strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune(p[0], r) })
		return listOf(parts), t.alloc(32 * len(parts))
	case "toUpperCase", "toLowerCase":
		return changeText(s, name), nil
	case "stripMargin":
		return stripMargin(s, p[0]), nil
	case "stripIndent":
		return stripColumns(s, int(asInt64(args[0]))), nil
	case "tr":
		if len(p) == 2 {
			return translate(s, p[0], p[1]), nil
		}
	case "takeBefore", "takeAfter", "takeBetween":
		before, after, ok := strings.Cut(s, p[0])
		switch {
		case !ok:
			return "", nil
		case name == "takeBefore":
			return before, nil
		case name == "takeAfter":
			return after, nil
		}
		middle, _, ok := strings.Cut(after, p[len(p)-1])
		if !ok {
			return "", nil
		}
		return middle, nil
	case "join":
		return strings.Join(p, s), nil
	case "removePrefix", "removeStart":
		return strings.TrimPrefix(s, p[0]), nil
	case "removeSuffix", "removeEnd":
		return strings.TrimSuffix(s, p[0]), nil
	}
	return nil, ErrMissing
}

// changeText are the methods without arguments that make another String.
func changeText(s, name string) string {
	switch name {
	case "trim", "strip":
		return strings.TrimFunc(s, func(r rune) bool { return r <= ' ' })
	case "stripLeading":
		return strings.TrimLeftFunc(s, unicode.IsSpace)
	case "stripTrailing":
		return strings.TrimRightFunc(s, unicode.IsSpace)
	case "toUpperCase":
		return strings.ToUpper(s)
	case "toLowerCase":
		return strings.ToLower(s)
	case "capitalize":
		if s == "" {
			return s
		}
		return capital(s)
	case "uncapitalize":
		r, n := utf8.DecodeRuneInString(s)
		if n == 0 {
			return s
		}
		return string(unicode.ToLower(r)) + s[n:]
	case "reverse":
		return reverseText(s)
	case "stripIndent":
		return stripIndent(s)
	case "stripMargin":
		return stripMargin(s, "|")
	case "chomp":
		return strings.TrimSuffix(strings.TrimSuffix(s, "\n"), "\r")
	case "chop":
		if r := []rune(s); len(r) > 0 {
			return string(r[:len(r)-1])
		}
	case "normalize":
		return strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\r", "\n")
	case "expand":
		return strings.ReplaceAll(s, "\t", "        ")
	}
	return s
}

func (t *Thread) pad(s, name string, args []Value) (Value, error) {
	with := " "
	if len(args) == 2 {
		var err error
		if with, err = t.Text(args[1]); err != nil {
			return nil, err
		}
	}
	n := asInt64(args[0])
	length := int64(newRunes(s).len())
	missing := n - length
	if missing <= 0 || with == "" {
		return s, nil
	}
	if missing > maxValue/4 {
		return nil, t.alloc(maxValue + 1)
	}
	if err := t.alloc(int(missing) * 4); err != nil {
		return nil, err
	}
	fill := func(n int64) string {
		r := []rune(strings.Repeat(with, int(n)/utf8.RuneCountInString(with)+1))
		return string(r[:n])
	}
	switch name {
	case "padLeft":
		return fill(missing) + s, nil
	case "padRight":
		return s + fill(missing), nil
	}
	left := missing / 2
	return fill(left) + s + fill(missing-left), nil
}

func stripMargin(s, margin string) string {
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		trimmed := strings.TrimLeft(line, " \t")
		if rest, ok := strings.CutPrefix(trimmed, margin[:min(1, len(margin))]); ok && margin != "" {
			lines[i] = rest
		}
	}
	return strings.Join(lines, "\n")
}

// stripIndent takes away the white space that all lines begin with.
func stripIndent(s string) string {
	least := -1
	for line := range strings.SplitSeq(s, "\n") {
		if strings.TrimSpace(line) == "" {
			continue
		}
		n := len(line) - len(strings.TrimLeft(line, " \t"))
		if least < 0 || n < least {
			least = n
		}
	}
	return stripColumns(s, max(0, least))
}

func stripColumns(s string, n int) string {
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		if strings.TrimSpace(line) == "" && len(line) <= n {
			lines[i] = ""
			continue
		}
		lines[i] = line[min(max(0, n), len(line)):]
	}
	return strings.Join(lines, "\n")
}

// translate replaces characters of one set by those of another: tr('a-z', 'A-Z').
func translate(s, from, to string) string {
	a, b := expandSet(from), expandSet(to)
	if len(b) == 0 {
		return s
	}
	return strings.Map(func(r rune) rune {
		i := slices.Index(a, r)
		if i < 0 {
			return r
		}
		return b[min(i, len(b)-1)]
	}, s)
}

func expandSet(s string) []rune {
	r := []rune(s)
	var out []rune
	for i := 0; i < len(r); i++ {
		if i+2 < len(r) && r[i+1] == '-' && r[i+2] >= r[i] {
			for c := r[i]; c <= r[i+2]; c++ {
				out = append(out, c)
			}
			i += 2
			continue
		}
		out = append(out, r[i])
	}
	return out
}

// lines are the lines of a text, without an empty one behind the last end.
func lines(s string) []string {
	s = strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\r", "\n")
	if s == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(s, "\n"), "\n")
}

// stringLines are the methods that go through the lines of a String.
func (t *Thread) stringLines(s, name string, args []Value) (Value, error) {
	switch name {
	case "readLines", "lines":
		l := lines(s)
		return listOf(l), t.alloc(32 * len(l))
	case "eachLine", "splitEachLine":
		if len(args) == 0 {
			return nil, ErrMissing
		}
		fn, ok := args[len(args)-1].(*Closure)
		if !ok {
			return nil, ErrMissing
		}
		var last Value
		for i, line := range lines(s) {
			if err := t.tick(1); err != nil {
				return nil, err
			}
			call := []Value{line}
			switch {
			case name == "splitEachLine":
				parts, err := t.regexText(line, "split", args[:1])
				if err != nil {
					return nil, err
				}
				call = []Value{parts}
			case fn.parameters() == 2:
				call = append(call, int32(i))
			}
			v, err := t.Call(fn, call...)
			if err != nil {
				return nil, err
			}
			last = v
		}
		return last, nil
	}
	return nil, ErrMissing
}
