package forgetest

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"sync"
)

// Object is a JSON object.
type Object = map[string]any

// Mux is the inside of a fake host: routes that take and give JSON, one
// request at a time. What is kept beside it is guarded by its lock.
type Mux struct {
	http.ServeMux
	sync.Mutex
	next int
}

// On answers requests of the pattern, as [http.ServeMux] understands it, with what do
// returns: a status and a body. The lock is held while do runs.
func (m *Mux) On(pattern string, do func(r *http.Request, in Object) (int, any)) {
	m.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		var in Object
		if r.Header.Get("Content-Type") == "application/json" && json.NewDecoder(r.Body).Decode(&in) != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		m.Lock()
		code, out := do(r, in)
		text, err := json.Marshal(out)
		m.Unlock()
		if err != nil {
			panic(err)
		}
		w.WriteHeader(code)
		if code != http.StatusNoContent {
			_, _ = w.Write(text)
		}
	})
}

// ID is a number that was not used yet.
func (m *Mux) ID() int {
	m.next++
	return 100 + m.next
}

// NotFound is the answer when there is no such thing.
func NotFound() (int, any) {
	return http.StatusNotFound, Object{"message": "404 Not Found", "errors": []any{Object{"message": "Not Found"}}}
}

// ByID is the object of a list with that "id", or nil.
func ByID(list []Object, id string) Object {
	for _, o := range list {
		if fmt.Sprint(o["id"]) == id {
			return o
		}
	}
	return nil
}

// Page is the part of a list that a request asks for by "page" and the size named
// size.
func Page[T any](r *http.Request, size string, all []T) []T {
	n, _ := strconv.Atoi(r.FormValue("page"))
	per, _ := strconv.Atoi(r.FormValue(size))
	if per <= 0 {
		per = 30
	}
	from := min((max(n, 1)-1)*per, len(all))
	return append([]T{}, all[from:min(from+per, len(all))]...)
}

// Merge puts the values of one object into another.
func Merge(into, from Object) Object {
	maps.Copy(into, from)
	return into
}
