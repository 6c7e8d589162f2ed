package groovy

import (
	"errors"
	"fmt"
)

// throwableInit is the constructor of the exceptions of the language: message
// and cause in any order.
func (t *Thread) throwableInit(o *Object, args []Value) error {
	for _, a := range args {
		if cause, ok := a.(*Object); ok && cause.class.isThrowable() {
			o.fields["cause"] = cause
			if _, ok := o.fields["message"]; !ok {
				s, err := t.Text(cause)
				if err != nil {
					return err
				}
				o.fields["message"] = s
			}
			continue
		}
		if a == nil {
			continue
		}
		s, err := t.Text(a)
		if err != nil {
			return err
		}
		o.fields["message"] = s
	}
	return nil
}

// Thrown is an exception on its way up, as a Go error.
type Thrown struct {
	Object *Object
	At     Position   // where it was thrown
	Trace  []Position // the calls that led there, innermost first

	cause error
}

// maxTrace is how many calls a Thrown remembers.
const maxTrace = 50

func (e *Thrown) Error() string {
	s := e.String()
	if e.At.File != "" {
		s += " (" + e.At.String() + ")"
	}
	return s
}

// Unwrap is the Go error that the exception was made of, if any.
func (e *Thrown) Unwrap() error { return e.cause }

// String is the class and the message, as toString says.
func (e *Thrown) String() string {
	if m := e.Message(); m != "" {
		return e.Object.class.Name + ": " + m
	}
	return e.Object.class.Name
}

// Message is the message, "" for none.
func (e *Thrown) Message() string {
	if m := e.Object.fields["message"]; m != nil {
		return plain(m)
	}
	return ""
}

// InstanceOf reports whether it is an instance of a class, given by its full
// name, or of one below it.
func (e *Thrown) InstanceOf(class string) bool { return e.Object.class.is(class, 0) }

// Throw makes an exception of a class of the language or of
// [Config.Throwables], by its full name.
func (t *Thread) Throw(class, format string, args ...any) *Thrown {
	c := t.in.builtin(class)
	if c == nil {
		c = t.in.builtin("java.lang.RuntimeException")
	}
	o := &Object{class: c, fields: map[string]Value{}}
	if format != "" {
		o.fields["message"] = fmt.Sprintf(format, args...)
	}
	return &Thrown{Object: o, At: t.Position()}
}

// Wrap makes an exception of a class of a Go error that errors.Is and
// errors.As still find.
func (t *Thread) Wrap(class string, err error) *Thrown {
	e := t.Throw(class, "%s", err)
	e.cause = err
	return e
}

// Rethrow makes a Go error of an exception that a script holds as a value.
func (t *Thread) Rethrow(o *Object) *Thrown { return &Thrown{Object: o, At: t.Position()} }

// called adds a call to the trace of an exception that comes out of it.
func called(err error, at Position) error {
	if e, ok := err.(*Thrown); ok && len(e.Trace) < maxTrace {
		e.Trace = append(e.Trace, at)
	}
	return err
}

// isMissing reports whether an error only says that there is no such member.
func isMissing(err error) bool { return errors.Is(err, ErrMissing) }
