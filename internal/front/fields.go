package front

import (
	"bufio"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// What is written here goes to an instance byte for byte, so it must hold no
// control characters: net/http has refused requests with such names and values,
// and target those with such addresses.

// via says who passed a message on (RFC 9110, 7.6.3).
const via = "fairlead"

// writeHeader writes the header of the request, as the instance gets it.
func (x *exchange) writeHeader(out *bufio.Writer, hasBody bool) {
	r := x.r
	write := func(parts ...string) {
		for _, s := range parts {
			_, _ = out.WriteString(s) // errors stay in out
		}
	}
	write(r.Method, " ", x.target, " HTTP/1.1\r\nHost: ", r.Host, "\r\n")
	trusted := x.f.live.Load().trusts(x.client.ip)
	listed := r.Header["Connection"]
	for name, values := range r.Header {
		if hopByHop(name) || len(listed) > 0 && lists(listed, name) {
			continue
		}
		switch name {
		case "Content-Length", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "Forwarded":
			continue // below
		case "X-Real-Ip":
			if !trusted {
				continue
			}
		default:
			if !trusted && strings.HasPrefix(name, "X-Forwarded-") {
				continue
			}
		}
		for _, value := range values {
			writeField(out, name, value)
		}
	}
	if lists(r.Header["Te"], "trailers") {
		write("Te: trailers\r\n")
	}
	if x.upgrade != "" {
		write("Connection: Upgrade\r\nUpgrade: ", x.upgrade, "\r\n")
	}
	x.writeForwarded(out, trusted)
	switch {
	case !hasBody:
		if r.Method == http.MethodPost || r.Method == http.MethodPut || r.Method == http.MethodPatch {
			write("Content-Length: 0\r\n")
		}
	case r.ContentLength > 0:
		write("Content-Length: ")
		_, _ = out.Write(strconv.AppendInt(out.AvailableBuffer(), r.ContentLength, 10))
		write("\r\n")
	default:
		write("Transfer-Encoding: chunked\r\n")
		for name := range r.Trailer {
			write("Trailer: ", name, "\r\n")
		}
	}
	write("\r\n")
}

// writeForwarded says where the request comes from: to the reader of
// X-Forwarded-*, to that of Forwarded (RFC 7239), and to that of Via.
func (x *exchange) writeForwarded(out *bufio.Writer, trusted bool) {
	write := func(parts ...string) {
		for _, s := range parts {
			_, _ = out.WriteString(s)
		}
	}
	// before is what proxies in front of us have said, with what divides it from ours.
	before := func(name string, believed bool) string {
		if values := x.r.Header[name]; believed && len(values) > 0 {
			return strings.Join(values, ", ") + ", "
		}
		return ""
	}
	// said is what the first of them has said; else it is ours to say.
	said := func(name, ours string) string {
		if values := x.r.Header[name]; trusted && len(values) > 0 {
			return values[0]
		}
		return ours
	}
	proto := "http"
	if x.r.TLS != nil {
		proto = "https"
	}
	write("X-Forwarded-For: ", before("X-Forwarded-For", trusted), x.client.addr,
		"\r\nX-Forwarded-Host: ", said("X-Forwarded-Host", x.r.Host),
		"\r\nX-Forwarded-Proto: ", said("X-Forwarded-Proto", proto),
		"\r\nForwarded: ", before("Forwarded", trusted), "for=", x.client.node, ";host=\"", x.r.Host, "\";proto=", proto,
		"\r\nVia: ", before("Via", true))
	if x.r.ProtoMajor == 2 {
		write("2.0 " + via + "\r\n")
	} else if x.r.ProtoMinor == 0 {
		write("1.0 " + via + "\r\n")
	} else {
		write("1.1 " + via + "\r\n")
	}
	if x.route.Strip && x.route.prefix != "" {
		write("X-Forwarded-Prefix: ", x.route.prefix, "\r\n")
	}
}

func writeField(out *bufio.Writer, name, value string) {
	_, _ = out.WriteString(name)
	_, _ = out.WriteString(": ")
	_, _ = out.WriteString(value)
	_, _ = out.WriteString("\r\n")
}

// hopByHop reports whether the field is of one connection alone (RFC 9110, 7.6.1).
// The name is canonical.
func hopByHop(name string) bool {
	switch name {
	case "Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Http2-Settings":
		return true
	}
	return false
}

// lists reports whether a field that is a list of tokens has the token.
func lists(values []string, token string) bool {
	for _, value := range values {
		for value != "" {
			var item string
			item, value, _ = strings.Cut(value, ",")
			if item = strings.Trim(item, " \t"); strings.EqualFold(item, token) {
				return true
			}
		}
	}
	return false
}

// copyHeader adds the fields of an answer that are meant for more than one
// connection.
func copyHeader(to, from http.Header) {
	listed := from["Connection"]
	for name, values := range from {
		if !hopByHop(name) && (len(listed) == 0 || !lists(listed, name)) {
			to[name] = values
		}
	}
}

// upgradeOf is the protocol that the client wants to change to; "" if none, or
// one that would hide further requests from us (RFC 9113, 3.1).
func upgradeOf(r *http.Request) string {
	values := r.Header["Upgrade"]
	if len(values) != 1 || r.ProtoMajor != 1 || r.ProtoMinor < 1 || !lists(r.Header["Connection"], "upgrade") ||
		strings.EqualFold(values[0], "h2c") || strings.ContainsAny(values[0], ", ") {
		return ""
	}
	return values[0]
}

// target is what the instance is asked for; ok is false if that could be taken for
// more than an address.
func (r *route) target(req *http.Request) (target string, ok bool) {
	target = req.RequestURI
	switch {
	case r.Strip && r.prefix != "":
		target = stripped(req.URL, r.prefix)
	case target == "" || target[0] != '/': // with a scheme and a host
		target = req.URL.RequestURI()
	}
	for i := range len(target) {
		if target[i] <= ' ' || target[i] == 0x7f {
			return "", false
		}
	}
	return target, target != ""
}

// stripped is the address without the prefix of its path.
func stripped(u *url.URL, prefix string) string {
	rest := url.URL{RawQuery: u.RawQuery, ForceQuery: u.ForceQuery}
	cleaned := clean(u.Path)
	same := cleaned == strings.TrimSuffix(u.Path, "/")
	if raw, literal := strings.CutPrefix(u.EscapedPath(), prefix); same && literal {
		rest.Path, rest.RawPath = strings.TrimPrefix(u.Path, prefix), raw
	} else {
		rest.Path = strings.TrimPrefix(cleaned, prefix)
		if strings.HasSuffix(u.Path, "/") {
			rest.Path += "/"
		}
	}
	if rest.Path == "" {
		rest.Path = "/"
	}
	return rest.RequestURI()
}

// trusts reports whether what the client says of those before it is believed.
func (c *compiled) trusts(ip netip.Addr) bool {
	for _, network := range c.trusted {
		if network.Contains(ip) {
			return true
		}
	}
	return false
}

// setCookie tells a new user who it is, so that it stays with its release.
func (x *exchange) setCookie(h http.Header) {
	if !x.cookie {
		return
	}
	c := http.Cookie{Name: x.route.Sticky.Cookie, Value: x.user, Path: "/", MaxAge: cookieAge, HttpOnly: true, Secure: x.r.TLS != nil, SameSite: http.SameSiteLaxMode}
	h["Set-Cookie"] = append(h["Set-Cookie"], c.String())
}

// cookieAge is how long a user is known, in seconds: 30 days.
const cookieAge = 30 * 24 * 60 * 60
