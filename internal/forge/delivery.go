package forge

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// fields are the header fields that forges look at, and whether they hold a
// secret or what was made with it.
var fields = map[string]bool{
	"Content-Type": false,

	"X-Github-Event":      false,
	"X-Github-Delivery":   false,
	"X-Hub-Signature-256": true,
	"X-Hub-Signature":     true,

	"X-Gitea-Event":       false,
	"X-Gitea-Delivery":    false,
	"X-Gitea-Signature":   true,
	"X-Forgejo-Event":     false,
	"X-Forgejo-Delivery":  false,
	"X-Forgejo-Signature": true,

	"X-Gitlab-Event":      false,
	"X-Gitlab-Event-Uuid": false,
	"X-Gitlab-Token":      true,
	"Idempotency-Key":     false,
	"Webhook-Id":          false,
	"Webhook-Timestamp":   false,
	"Webhook-Signature":   true,

	"X-Event-Key":    false,
	"X-Request-Uuid": false,
	"X-Request-Id":   false,
	"Authorization":  true,
}

// Received is the delivery that a request brings: its body, as it came, and those
// of its header fields that a forge looks at.
func Received(h http.Header, body []byte) *Delivery {
	d := &Delivery{Header: map[string]string{}, Body: body}
	for name := range fields {
		if v := h.Get(name); v != "" {
			d.Header[name] = v
		}
	}
	return d
}

// Kept is the delivery's header without secrets and signatures: what may be
// written down and is enough for [Forge.Parse].
func (d *Delivery) Kept() map[string]string {
	kept := make(map[string]string, len(d.Header))
	for name, v := range d.Header {
		if secret, known := fields[name]; known && !secret {
			kept[name] = v
		}
	}
	return kept
}

// maxID bounds a delivery's ID.
const maxID = 128

// ID names the delivery: as its host does, so that what is sent again is known
// by it, or by a digest of the body. It reads no body and may be asked before
// parsing; Kept is enough for it.
//
// Of the hosts only GitLab, where it signs, puts the ID under the signature.
// Elsewhere whoever caught a signed delivery on its way could send it under
// another ID: the encryption of the connection is what prevents that.
func (d *Delivery) ID() string {
	names := []string{"X-Github-Delivery", "X-Gitea-Delivery", "X-Forgejo-Delivery"}
	switch {
	case d.Header["X-Event-Key"] != "": // elsewhere a proxy may have added these
		names = []string{"X-Request-Uuid", "X-Request-Id"}
	case d.Header["X-Gitlab-Event"] != "":
		names = []string{"Webhook-Id", "Idempotency-Key", "X-Gitlab-Event-Uuid"}
	}
	for _, name := range names {
		if id := d.Header[name]; id != "" && len(id) <= maxID && !strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return id
		}
	}
	sum := sha256.Sum256(d.Body)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Signed reports whether a signature, in hexadecimal digits, is the
// HMAC-SHA-256 of the body. It takes as long for a wrong one as for a right
// one. An empty secret signs nothing.
func Signed(body, secret []byte, signature string) bool {
	given, err := hex.DecodeString(signature)
	if err != nil || len(secret) == 0 {
		return false
	}
	mac := hmac.New(sha256.New, secret)
	mac.Write(body)
	return hmac.Equal(given, mac.Sum(nil))
}

// Same reports whether two texts are the same. How long that takes tells
// nothing of either, not even its length.
func Same(given, secret []byte) bool {
	a, b := sha256.Sum256(given), sha256.Sum256(secret)
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1 && len(secret) > 0
}

// Limits of a payload. A body is read only after its signature was checked, but
// what hosts send is written by people: it must not cost much more memory than
// its length.
const (
	maxDepth  = 64
	maxValues = 1 << 19
)

// Object is a JSON object of a payload, or one made in the same words. It comes
// from outside: nothing in it need be there or of the right type, and what is
// not reads as the zero value.
type Object map[string]any

// Payload reads the body of a delivery: JSON, or a form with JSON in its field
// "payload".
func (d *Delivery) Payload() (Object, error) {
	body := d.Body
	if len(body) > MaxBody {
		return nil, fmt.Errorf("the body is longer than %d bytes", MaxBody)
	}
	if kind, _, _ := strings.Cut(d.Header["Content-Type"], ";"); strings.EqualFold(strings.TrimSpace(kind), "application/x-www-form-urlencoded") {
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return nil, errors.New("the body is not a form, although its Content-Type says so")
		}
		body = []byte(form.Get("payload"))
	}
	if err := measured(body); err != nil {
		return nil, err
	}
	var o Object
	dec := json.NewDecoder(bytes.NewReader(body))
	if err := dec.Decode(&o); err != nil {
		return nil, fmt.Errorf("the body is not a JSON object: %w", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("something follows the JSON object in the body")
	}
	if o == nil {
		return nil, errors.New("the body is no JSON object but null")
	}
	return o, nil
}

// measured looks at how deep and how many the values of a JSON text are,
// before anything is made of them.
func measured(text []byte) error {
	depth, values, quoted := 0, 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{', c == '[':
			depth++
			values++
		case c == '}', c == ']':
			depth--
		case c == ',':
			values++
		}
		if depth > maxDepth {
			return fmt.Errorf("the body is nested deeper than %d", maxDepth)
		}
		if values > maxValues {
			return fmt.Errorf("the body holds more than %d values", maxValues)
		}
	}
	return nil
}

// Object is the object at a path.
func (o Object) Object(path ...string) Object {
	for _, key := range path {
		switch next := o[key].(type) {
		case map[string]any:
			o = next
		case Object:
			o = next
		default:
			return nil
		}
	}
	return o
}

func (o Object) at(path []string) any {
	if len(path) == 0 {
		return nil
	}
	return o.Object(path[:len(path)-1]...)[path[len(path)-1]]
}

// Text is the text at a path.
func (o Object) Text(path ...string) string {
	s, _ := o.at(path).(string)
	return s
}

// Bool is the truth value at a path.
func (o Object) Bool(path ...string) bool {
	b, _ := o.at(path).(bool)
	return b
}

// Integer is the whole number at a path.
func (o Object) Integer(path ...string) int {
	const exact = 1 << 53 // beyond it a JSON number is no longer what was sent
	if f, ok := o.at(path).(float64); ok && f > -exact && f < exact && f == float64(int64(f)) {
		return int(f)
	}
	return 0
}

// ID is what identifies something at a path, a text or a number, as text.
// It is "" when there is none.
func (o Object) ID(path ...string) string {
	if s := o.Text(path...); s != "" {
		return s
	}
	if n := o.Integer(path...); n != 0 {
		return strconv.Itoa(n)
	}
	return ""
}

// List is the objects of the list at a path.
func (o Object) List(path ...string) []Object {
	list, _ := o.at(path).([]any)
	objects := make([]Object, 0, len(list))
	for _, v := range list {
		if m, ok := v.(map[string]any); ok {
			objects = append(objects, m)
		}
	}
	return objects
}

// Texts is the texts of the list at a path.
func (o Object) Texts(path ...string) []string {
	list, _ := o.at(path).([]any)
	texts := make([]string, 0, len(list))
	for _, v := range list {
		if s, ok := v.(string); ok {
			texts = append(texts, s)
		}
	}
	return texts
}
