package groovy

import (
	"fmt"
	"strings"
	"time"
)

// layouts are the letters of SimpleDateFormat as Go's layouts, by how often
// the letter stands.
var layouts = map[string]string{
	"yyyy": "2006", "yyy": "2006", "yy": "06", "y": "2006", "YYYY": "2006", "uuuu": "2006",
	"MMMM": "January", "MMM": "Jan", "MM": "01", "M": "1",
	"dd": "02", "d": "2", "EEEE": "Monday", "EEE": "Mon", "EE": "Mon", "E": "Mon",
	"HH": "15", "hh": "03", "h": "3", "mm": "04", "m": "4", "ss": "05", "s": "5",
	"a": "PM", "z": "MST", "zzz": "MST", "zzzz": "MST", "Z": "-0700", "X": "Z07", "XX": "Z0700", "XXX": "Z07:00",
}

// formatDate writes a time as SimpleDateFormat does.
func formatDate(at time.Time, pattern string) string {
	var b strings.Builder
	eachField(pattern, func(field string, literal bool) {
		switch layout := layouts[field]; {
		case literal:
			b.WriteString(field)
		case layout != "":
			b.WriteString(at.Format(layout))
		default:
			n := 0
			switch field[0] {
			case 'S':
				n = at.Nanosecond() / 1e6
			case 'H':
				n = at.Hour()
			case 'k':
				n = (at.Hour()+23)%24 + 1
			case 'K':
				n = at.Hour() % 12
			case 'D':
				n = at.YearDay()
			case 'w':
				_, n = at.ISOWeek()
			case 'u':
				n = (int(at.Weekday())+6)%7 + 1
			case 'F':
				n = (at.Day()-1)/7 + 1
			case 'G':
				b.WriteString("AD")
				return
			}
			fmt.Fprintf(&b, "%0*d", min(len(field), 9), n)
		}
	})
	return b.String()
}

// eachField goes through the letters and the literal parts of a date pattern.
func eachField(pattern string, fn func(field string, literal bool)) {
	letter := func(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
	for i := 0; i < len(pattern); {
		c := pattern[i]
		switch {
		case c == '\'':
			end := strings.IndexByte(pattern[i+1:], '\'')
			switch {
			case end == 0:
				fn("'", true)
			case end < 0:
				fn(pattern[i+1:], true)
				return
			default:
				fn(pattern[i+1:i+1+end], true)
			}
			i += end + 2
		case letter(c):
			j := i
			for j < len(pattern) && pattern[j] == c {
				j++
			}
			fn(pattern[i:j], false)
			i = j
		default:
			fn(pattern[i:i+1], true)
			i++
		}
	}
}

func (t *Thread) parseDate(args []Value) (Value, error) {
	p, err := t.texts(args)
	if err != nil {
		return nil, err
	}
	var layout strings.Builder
	eachField(p[0], func(field string, literal bool) {
		switch {
		case literal:
			layout.WriteString(field)
		case field[0] == 'S':
			layout.WriteString(strings.Repeat("0", min(len(field), 9)))
		case layouts[field] != "":
			layout.WriteString(layouts[field])
		case field[0] == 'H':
			layout.WriteString("15")
		}
	})
	at, err := time.Parse(layout.String(), p[1])
	if err != nil {
		return nil, t.Throw("java.text.ParseException", "Unparseable date: %q", p[1])
	}
	return &Date{at.UTC()}, nil
}

func (t *Thread) dateMethod(d *Date, name string, args []Value) (Value, error) {
	switch name {
	case "getTime", "toEpochMilli":
		return d.Time.UnixMilli(), nil
	case "format":
		pattern := "yyyy-MM-dd"
		if len(args) > 0 {
			pattern = plain(args[0])
		}
		at := d.Time
		if len(args) == 2 {
			if zone, err := time.LoadLocation(strings.TrimPrefix(plain(args[1]), "GMT+")); err == nil {
				at = at.In(zone)
			}
		}
		return formatDate(at, pattern), nil
	case "before", "after", "compareTo", "equals":
		other, ok := single(args).(*Date)
		if !ok {
			return false, nil
		}
		switch name {
		case "before":
			return d.Time.Before(other.Time), nil
		case "after":
			return d.Time.After(other.Time), nil
		case "equals":
			return d.Time.Equal(other.Time), nil
		}
		return int32(d.Time.Compare(other.Time)), nil
	case "plus", "minus":
		if other, ok := single(args).(*Date); ok && name == "minus" {
			return int32(d.Time.Sub(other.Time).Hours() / 24), nil
		}
		if rankOf(single(args)) != notNumber {
			days := int(asInt32(args[0]))
			if name == "minus" {
				days = -days
			}
			return &Date{d.Time.AddDate(0, 0, days)}, nil
		}
	case "next", "previous":
		days := 1
		if name == "previous" {
			days = -1
		}
		return &Date{d.Time.AddDate(0, 0, days)}, nil
	case "clearTime":
		y, m, day := d.Time.Date()
		d.Time = time.Date(y, m, day, 0, 0, 0, 0, d.Time.Location())
		return d, nil
	case "setTime":
		d.Time = time.UnixMilli(asInt64(single(args))).UTC()
		return nil, nil
	case "getYear":
		return int32(d.Time.Year() - 1900), nil
	case "getMonth":
		return int32(d.Time.Month()) - 1, nil
	case "getDate":
		return int32(d.Time.Day()), nil
	case "getDay":
		return int32(d.Time.Weekday()), nil
	case "getHours":
		return int32(d.Time.Hour()), nil
	case "getMinutes":
		return int32(d.Time.Minute()), nil
	case "getSeconds":
		return int32(d.Time.Second()), nil
	case "toInstant", "toCalendar", "clone":
		return &Date{d.Time}, nil
	case "getDateString":
		return formatDate(d.Time, "MM/dd/yy"), nil
	case "getTimeString":
		return formatDate(d.Time, "h:mm:ss a"), nil
	case "toGMTString":
		return formatDate(d.Time, "d MMM yyyy HH:mm:ss 'GMT'"), nil
	}
	return nil, ErrMissing
}
