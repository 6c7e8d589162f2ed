package groovy

import (
	"slices"
	"strings"
)

// hierarchy has the classes of the language: name, superclass and interfaces.
var hierarchy = map[string]string{
	"java.lang.Object":                          "",
	"java.lang.CharSequence":                    "",
	"java.lang.Comparable":                      "",
	"java.lang.Iterable":                        "",
	"java.lang.Runnable":                        "",
	"java.lang.Cloneable":                       "",
	"java.io.Serializable":                      "",
	"java.util.concurrent.Callable":             "",
	"java.lang.String":                          "java.lang.Object java.lang.CharSequence java.lang.Comparable java.io.Serializable",
	"groovy.lang.GString":                       "java.lang.Object java.lang.CharSequence java.lang.Comparable java.io.Serializable",
	"org.codehaus.groovy.runtime.GStringImpl":   "groovy.lang.GString",
	"java.lang.StringBuilder":                   "java.lang.Object java.lang.CharSequence java.io.Serializable",
	"java.lang.StringBuffer":                    "java.lang.Object java.lang.CharSequence java.io.Serializable",
	"java.lang.Boolean":                         "java.lang.Object java.lang.Comparable java.io.Serializable",
	"java.lang.Character":                       "java.lang.Object java.lang.Comparable java.io.Serializable",
	"java.lang.Number":                          "java.lang.Object java.io.Serializable",
	"java.lang.Integer":                         "java.lang.Number java.lang.Comparable",
	"java.lang.Long":                            "java.lang.Number java.lang.Comparable",
	"java.lang.Short":                           "java.lang.Number java.lang.Comparable",
	"java.lang.Byte":                            "java.lang.Number java.lang.Comparable",
	"java.lang.Double":                          "java.lang.Number java.lang.Comparable",
	"java.lang.Float":                           "java.lang.Number java.lang.Comparable",
	"java.math.BigDecimal":                      "java.lang.Number java.lang.Comparable",
	"java.math.BigInteger":                      "java.lang.Number java.lang.Comparable",
	"java.lang.Class":                           "java.lang.Object java.io.Serializable",
	"java.lang.Enum":                            "java.lang.Object java.lang.Comparable java.io.Serializable",
	"java.lang.Math":                            "java.lang.Object",
	"java.lang.System":                          "java.lang.Object",
	"java.lang.Thread":                          "java.lang.Object",
	"java.lang.StackTraceElement":               "java.lang.Object",
	"java.util.Collection":                      "java.lang.Iterable",
	"java.util.List":                            "java.util.Collection",
	"java.util.Set":                             "java.util.Collection",
	"java.util.SortedSet":                       "java.util.Set",
	"java.util.Queue":                           "java.util.Collection",
	"java.util.Deque":                           "java.util.Queue",
	"java.util.Map":                             "",
	"java.util.SortedMap":                       "java.util.Map",
	"java.util.Map.Entry":                       "",
	"java.util.Iterator":                        "",
	"java.util.ArrayList":                       "java.lang.Object java.util.List java.util.RandomAccess java.lang.Cloneable java.io.Serializable",
	"java.util.LinkedList":                      "java.lang.Object java.util.List java.util.Deque",
	"java.util.Vector":                          "java.lang.Object java.util.List",
	"java.util.Stack":                           "java.util.Vector",
	"java.util.RandomAccess":                    "",
	"java.util.HashSet":                         "java.lang.Object java.util.Set",
	"java.util.LinkedHashSet":                   "java.util.HashSet",
	"java.util.TreeSet":                         "java.lang.Object java.util.SortedSet",
	"java.util.HashMap":                         "java.lang.Object java.util.Map java.lang.Cloneable java.io.Serializable",
	"java.util.LinkedHashMap":                   "java.util.HashMap",
	"java.util.TreeMap":                         "java.lang.Object java.util.SortedMap",
	"java.util.Hashtable":                       "java.lang.Object java.util.Map",
	"java.util.Properties":                      "java.util.Hashtable",
	"java.util.concurrent.ConcurrentHashMap":    "java.lang.Object java.util.Map",
	"java.util.concurrent.CopyOnWriteArrayList": "java.lang.Object java.util.List",
	"java.util.concurrent.TimeUnit":             "java.lang.Enum",
	"java.util.concurrent.atomic.AtomicInteger": "java.lang.Number",
	"java.util.Arrays":                          "java.lang.Object",
	"java.util.Collections":                     "java.lang.Object",
	"java.util.Objects":                         "java.lang.Object",
	"java.util.Date":                            "java.lang.Object java.lang.Comparable",
	"java.util.TimeZone":                        "java.lang.Object",
	"java.util.Calendar":                        "java.lang.Object",
	"java.util.Locale":                          "java.lang.Object",
	"java.util.Random":                          "java.lang.Object",
	"java.util.UUID":                            "java.lang.Object java.lang.Comparable",
	"java.util.Base64":                          "java.lang.Object",
	"java.util.regex.Pattern":                   "java.lang.Object java.io.Serializable",
	"java.util.regex.Matcher":                   "java.lang.Object",
	"java.text.SimpleDateFormat":                "java.lang.Object",
	"java.net.URLEncoder":                       "java.lang.Object",
	"java.net.URLDecoder":                       "java.lang.Object",
	"java.nio.charset.StandardCharsets":         "java.lang.Object",
	"groovy.lang.Closure":                       "java.lang.Object java.lang.Runnable java.lang.Cloneable java.io.Serializable",
	"groovy.lang.Range":                         "java.util.List",
	"groovy.lang.IntRange":                      "java.lang.Object groovy.lang.Range",
	"groovy.lang.ObjectRange":                   "java.lang.Object groovy.lang.Range",
	"groovy.lang.Script":                        "java.lang.Object",
	"groovy.lang.Binding":                       "java.lang.Object",
	"groovy.json.JsonSlurper":                   "java.lang.Object",
	"groovy.json.JsonSlurperClassic":            "java.lang.Object",
	"groovy.json.JsonOutput":                    "java.lang.Object",
	"groovy.json.JsonBuilder":                   "java.lang.Object",
	"groovy.transform.Field":                    "",
	"com.cloudbees.groovy.cps.NonCPS":           "",

	"java.lang.Throwable":                                                  "java.lang.Object java.io.Serializable",
	"java.lang.Exception":                                                  "java.lang.Throwable",
	"java.lang.Error":                                                      "java.lang.Throwable",
	"java.lang.RuntimeException":                                           "java.lang.Exception",
	"java.lang.IllegalArgumentException":                                   "java.lang.RuntimeException",
	"java.lang.NumberFormatException":                                      "java.lang.IllegalArgumentException",
	"java.util.IllegalFormatException":                                     "java.lang.IllegalArgumentException",
	"java.lang.IllegalStateException":                                      "java.lang.RuntimeException",
	"java.lang.UnsupportedOperationException":                              "java.lang.RuntimeException",
	"java.lang.NullPointerException":                                       "java.lang.RuntimeException",
	"java.lang.ArithmeticException":                                        "java.lang.RuntimeException",
	"java.lang.ClassCastException":                                         "java.lang.RuntimeException",
	"java.lang.SecurityException":                                          "java.lang.RuntimeException",
	"java.lang.IndexOutOfBoundsException":                                  "java.lang.RuntimeException",
	"java.lang.ArrayIndexOutOfBoundsException":                             "java.lang.IndexOutOfBoundsException",
	"java.lang.StringIndexOutOfBoundsException":                            "java.lang.IndexOutOfBoundsException",
	"java.lang.NegativeArraySizeException":                                 "java.lang.RuntimeException",
	"java.util.NoSuchElementException":                                     "java.lang.RuntimeException",
	"java.util.ConcurrentModificationException":                            "java.lang.RuntimeException",
	"java.util.regex.PatternSyntaxException":                               "java.lang.IllegalArgumentException",
	"java.lang.CloneNotSupportedException":                                 "java.lang.Exception",
	"java.lang.InterruptedException":                                       "java.lang.Exception",
	"java.lang.ReflectiveOperationException":                               "java.lang.Exception",
	"java.lang.ClassNotFoundException":                                     "java.lang.ReflectiveOperationException",
	"java.lang.InstantiationException":                                     "java.lang.ReflectiveOperationException",
	"java.lang.LinkageError":                                               "java.lang.Error",
	"java.lang.NoClassDefFoundError":                                       "java.lang.LinkageError",
	"java.lang.IncompatibleClassChangeError":                               "java.lang.LinkageError",
	"java.lang.NoSuchMethodError":                                          "java.lang.IncompatibleClassChangeError",
	"java.lang.NoSuchFieldError":                                           "java.lang.IncompatibleClassChangeError",
	"java.lang.VirtualMachineError":                                        "java.lang.Error",
	"java.lang.StackOverflowError":                                         "java.lang.VirtualMachineError",
	"java.lang.OutOfMemoryError":                                           "java.lang.VirtualMachineError",
	"java.lang.AssertionError":                                             "java.lang.Error",
	"java.io.IOException":                                                  "java.lang.Exception",
	"java.io.FileNotFoundException":                                        "java.io.IOException",
	"java.io.UncheckedIOException":                                         "java.lang.RuntimeException",
	"java.net.MalformedURLException":                                       "java.io.IOException",
	"java.net.UnknownHostException":                                        "java.io.IOException",
	"java.net.SocketException":                                             "java.io.IOException",
	"java.net.ConnectException":                                            "java.net.SocketException",
	"java.net.SocketTimeoutException":                                      "java.io.IOException",
	"java.nio.file.FileSystemException":                                    "java.io.IOException",
	"java.nio.file.NoSuchFileException":                                    "java.nio.file.FileSystemException",
	"java.text.ParseException":                                             "java.lang.Exception",
	"java.util.concurrent.TimeoutException":                                "java.lang.Exception",
	"java.util.concurrent.ExecutionException":                              "java.lang.Exception",
	"java.util.concurrent.CancellationException":                           "java.lang.IllegalStateException",
	"groovy.lang.GroovyRuntimeException":                                   "java.lang.RuntimeException",
	"groovy.lang.MissingPropertyException":                                 "groovy.lang.GroovyRuntimeException",
	"groovy.lang.MissingMethodException":                                   "groovy.lang.GroovyRuntimeException",
	"groovy.lang.ReadOnlyPropertyException":                                "groovy.lang.MissingPropertyException",
	"groovy.json.JsonException":                                            "groovy.lang.GroovyRuntimeException",
	"org.codehaus.groovy.runtime.typehandling.GroovyCastException":         "java.lang.ClassCastException",
	"org.codehaus.groovy.runtime.powerassert.PowerAssertionError":          "java.lang.AssertionError",
	"hudson.AbortException":                                                "java.io.IOException",
	"org.jenkinsci.plugins.workflow.steps.FlowInterruptedException":        "java.lang.InterruptedException",
	"org.jenkinsci.plugins.workflow.steps.MissingContextVariableException": "java.lang.Exception",
	"org.jenkinsci.plugins.scriptsecurity.sandbox.RejectedAccessException": "java.lang.SecurityException",
}

// imported are the packages whose classes need no import.
var imported = []string{"java.lang.", "java.util.", "java.io.", "java.net.", "groovy.lang.", "groovy.util."}

const castException = "org.codehaus.groovy.runtime.typehandling.GroovyCastException"

// supers are the superclass and the interfaces of a class of the language;
// ok is false when there is no such class.
func (in *Interp) supers(name string) (list []string, ok bool) {
	s, ok := hierarchy[name]
	if !ok {
		s, ok = in.config.Throwables[name]
	}
	return strings.Fields(s), ok
}

// builtin is a class of the language by its full name, nil for none.
func (in *Interp) builtin(name string) *Class {
	if c, ok := in.classes[name]; ok {
		return c
	}
	supers, ok := in.supers(name)
	if !ok {
		return nil
	}
	c := &Class{Name: name}
	in.classes[name] = c
	for i, s := range supers {
		super := in.builtin(s)
		if super == nil {
			continue
		}
		if i == 0 && name != "java.lang.Object" {
			c.super = super
		} else {
			c.interfaces = append(c.interfaces, super)
		}
	}
	return c
}

// isA reports whether a class is another or below it.
func (c *Class) isA(other *Class) bool { return c.is(other.Name, 0) }

func (c *Class) is(name string, depth int) bool {
	if c == nil || depth > 100 {
		return false
	}
	if c.Name == name || name == "java.lang.Object" {
		return true
	}
	if c.super.is(name, depth+1) {
		return true
	}
	return slices.ContainsFunc(c.interfaces, func(i *Class) bool { return i.is(name, depth+1) })
}

func (c *Class) isThrowable() bool { return c.is("java.lang.Throwable", 0) }
