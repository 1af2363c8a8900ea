package events

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"unsafe"
)

// Limits of what one call may hold. They are the tracking spec's where it names them.
const (
	// MaxEventBytes is the largest single call.
	MaxEventBytes = 32 << 10
	// MaxDepth is how deep objects and arrays may nest inside properties, context and traits.
	MaxDepth = 16
	// MaxNameBytes is the longest event name, page name, type, property key or messageId.
	MaxNameBytes = 255
	// MaxIDBytes is the longest user, anonymous, previous or group id.
	MaxIDBytes = 512
	// maxExponent is beyond every float64; a larger one only makes decimal libraries slow.
	maxExponent = 400
	// maxNumberBytes keeps a plain decimal finite without parsing it.
	maxNumberBytes = 300
)

// SyntaxError says that a body is not JSON at all, so that nothing in it can be trusted.
type SyntaxError struct {
	Offset int // byte in the body
	What   string
}

// Error names the byte, counted from 0.
func (e *SyntaxError) Error() string {
	return fmt.Sprintf("invalid JSON at byte %d: %s", e.Offset, e.What)
}

// RefusedError says why a call that is JSON cannot be accepted. Path is dotted and may be empty.
type RefusedError struct {
	Path   string
	Reason string
}

// Error is "path: reason".
func (e *RefusedError) Error() string {
	if e.Path == "" {
		return e.Reason
	}
	return e.Path + ": " + e.Reason
}

func refuse(format string, args ...any) error {
	return &RefusedError{Reason: fmt.Sprintf(format, args...)}
}

// under puts a key before the path of a refusal; other errors stay.
func under(key string, err error) error {
	r, ok := err.(*RefusedError) //nolint:errorlint // made in this file, never wrapped
	if !ok {
		return err
	}
	switch {
	case r.Path == "":
		r.Path = key
	case r.Path[0] == '[':
		r.Path = key + r.Path
	default:
		r.Path = key + "." + r.Path
	}
	return r
}

// scanner reads JSON once, checking it and writing its normal form. The normal form has no white
// space, no escapes but the necessary ones, no duplicate keys and only finite numbers; it keeps the
// order of keys and the digits of numbers. Where the input is already in normal form, as what
// JSON.stringify writes is, nothing is copied: the result is a part of the input.
type scanner struct {
	in  []byte
	pos int

	out     []byte // arena of what had to be rewritten; slices of it stay valid when it grows
	lit     int    // in[lit:pos] belongs to the value being normalised and is not yet in out
	changed bool   // the value being normalised differs from its input
	begin   int    // where its rewritten form begins in out
	silent  bool   // check only, write nothing; so it is outside of normal

	keys   []span // keys of the objects that are open
	text   []byte // decoded keys that had escapes
	dotted bool   // a key with a dot was seen: paths may collide
}

// span is a key: in[from:to], or text[from:to] if it had escapes.
type span struct {
	from, to int
	text     bool
}

func (s *scanner) reset(in []byte) {
	*s = scanner{in: in, out: s.out[:0], keys: s.keys[:0], text: s.text[:0], silent: true}
}

func (s *scanner) syntax(what string) error {
	if s.pos >= len(s.in) {
		what = "it ends too early"
	}
	return &SyntaxError{Offset: s.pos, What: what}
}

// flush writes the pending run up to `to` and goes on at `next`; what is between is replaced by the
// caller or left out.
func (s *scanner) flush(to, next int) {
	if !s.silent {
		s.changed = true
		s.out = append(s.out, s.in[s.lit:to]...)
	}
	s.lit = next
}

// space skips white space.
func (s *scanner) space() {
	from := s.pos
	for s.pos < len(s.in) {
		switch s.in[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
			continue
		}
		break
	}
	if s.pos > from {
		s.flush(from, s.pos)
	}
}

// peek is the next byte after white space, 0 at the end.
func (s *scanner) peek() byte {
	if s.pos < len(s.in) && s.in[s.pos] > ' ' {
		return s.in[s.pos]
	}
	s.space()
	if s.pos < len(s.in) {
		return s.in[s.pos]
	}
	return 0
}

// normal reads one value and returns its normal form.
func (s *scanner) normal() ([]byte, error) {
	s.peek()
	from := s.pos
	s.lit, s.changed, s.begin, s.silent, s.dotted = from, false, len(s.out), false, false
	err := s.value(1)
	s.silent = true
	if err != nil {
		return nil, err
	}
	end := s.pos
	if !s.changed {
		return s.in[from:end:end], nil
	}
	s.out = append(s.out, s.in[s.lit:end]...)
	return s.out[s.begin:len(s.out):len(s.out)], nil
}

// skip reads one value for its syntax alone.
func (s *scanner) skip() error { return s.value(1) }

// leap goes over one value that has been refused, by its brackets and strings alone.
func (s *scanner) leap() {
	for s.pos = endOfValue(s.in, s.pos); s.pos > 0 && s.in[s.pos-1] <= ' '; {
		s.pos-- // white space after a number or word
	}
}

func (s *scanner) value(depth int) error {
	switch c := s.peek(); c {
	case '{':
		return s.object(depth)
	case '[':
		return s.array(depth)
	case '"':
		_, err := s.str()
		return err
	case 't':
		return s.word("true")
	case 'f':
		return s.word("false")
	case 'n':
		return s.word("null")
	default:
		if c == '-' || c >= '0' && c <= '9' {
			return s.number()
		}
		return s.syntax("a value was expected")
	}
}

func (s *scanner) word(w string) error {
	if len(s.in)-s.pos < len(w) || string(s.in[s.pos:s.pos+len(w)]) != w {
		return s.syntax("a value was expected")
	}
	s.pos += len(w)
	return nil
}

func (s *scanner) object(depth int) error {
	if depth > MaxDepth {
		return refuse("is nested deeper than %d levels", MaxDepth)
	}
	first, text := len(s.keys), len(s.text)
	defer func() { s.keys, s.text = s.keys[:first], s.text[:text] }()
	var many map[string]struct{}
	s.pos++
	if s.peek() == '}' {
		s.pos++
		return nil
	}
	for {
		key, err := s.key()
		if err != nil {
			return err
		}
		if !s.silent {
			name := s.bytes(key)
			if len(name) > MaxNameBytes {
				return refuse("the key %.40q… has %d bytes; at most %d are allowed", name, len(name), MaxNameBytes)
			}
			if many, err = s.unique(first, name, many); err != nil {
				return err
			}
			s.keys = append(s.keys, key)
		}
		if s.peek() != ':' {
			return s.syntax("a colon was expected after the key")
		}
		s.pos++
		if err := s.value(depth + 1); err != nil {
			return under(string(s.bytes(key)), err)
		}
		switch s.peek() {
		case ',':
			s.pos++
		case '}':
			s.pos++
			return nil
		default:
			return s.syntax("a comma or a closing brace was expected")
		}
	}
}

// unique refuses a key that the open object has already. Few keys are compared one by one; many go
// into a map, so that an object of thousands of keys is not quadratic.
func (s *scanner) unique(first int, name []byte, many map[string]struct{}) (map[string]struct{}, error) {
	const few = 24
	open := s.keys[first:]
	if len(open) < few {
		for _, k := range open {
			if k.to-k.from == len(name) && string(s.bytes(k)) == string(name) {
				return nil, refuse("the key %q stands twice in one object", name)
			}
		}
		return nil, nil
	}
	if many == nil {
		many = make(map[string]struct{}, 4*few)
		for _, k := range open {
			many[string(s.bytes(k))] = struct{}{}
		}
	}
	if _, twice := many[string(name)]; twice {
		return nil, refuse("the key %q stands twice in one object", name)
	}
	many[string(name)] = struct{}{}
	return many, nil
}

func (s *scanner) array(depth int) error {
	if depth > MaxDepth {
		return refuse("is nested deeper than %d levels", MaxDepth)
	}
	s.pos++
	if s.peek() == ']' {
		s.pos++
		return nil
	}
	for i := 0; ; i++ {
		if err := s.value(depth + 1); err != nil {
			return under("["+strconv.Itoa(i)+"]", err)
		}
		switch s.peek() {
		case ',':
			s.pos++
		case ']':
			s.pos++
			return nil
		default:
			return s.syntax("a comma or a closing bracket was expected")
		}
	}
}

func (s *scanner) bytes(k span) []byte {
	if k.text {
		return s.text[k.from:k.to]
	}
	return s.in[k.from:k.to]
}

// key reads an object's key and remembers its decoded text.
func (s *scanner) key() (span, error) {
	if s.peek() != '"' {
		return span{}, s.syntax("a key in double quotes was expected")
	}
	from := s.pos + 1
	escaped, err := s.str()
	if err != nil {
		return span{}, err
	}
	k := span{from: from, to: s.pos - 1}
	if escaped {
		k = span{from: len(s.text), text: true}
		s.text = appendDecoded(s.text, s.in[from:s.pos-1])
		k.to = len(s.text)
	}
	if !s.silent && !s.dotted {
		s.dotted = bytes.IndexByte(s.bytes(k), '.') >= 0
	}
	return k, nil
}

// number checks a number: integers within 64 bits, all others finite.
func (s *scanner) number() error {
	from := s.pos
	i := from
	if s.in[i] == '-' {
		i++
	}
	digits := i
	for i < len(s.in) && s.in[i] >= '0' && s.in[i] <= '9' {
		i++
	}
	whole := i - digits
	bad := whole == 0 || whole > 1 && s.in[digits] == '0'
	integer := true
	if i < len(s.in) && s.in[i] == '.' {
		integer = false
		i++
		fraction := i
		for i < len(s.in) && s.in[i] >= '0' && s.in[i] <= '9' {
			i++
		}
		bad = bad || i == fraction
	}
	exponent := -1
	if i < len(s.in) && (s.in[i] == 'e' || s.in[i] == 'E') {
		integer = false
		i++
		exponent = i
		if i < len(s.in) && (s.in[i] == '+' || s.in[i] == '-') {
			i++
		}
		power := i
		for i < len(s.in) && s.in[i] >= '0' && s.in[i] <= '9' {
			i++
		}
		bad = bad || i == power
	}
	s.pos = i
	if bad {
		return &SyntaxError{Offset: from, What: "this number is not written as JSON writes numbers"}
	}
	if s.silent {
		return nil
	}
	return s.bounded(from, whole, integer, exponent)
}

// bounded refuses the number in[from:pos] if a column of 64 bits cannot hold it.
func (s *scanner) bounded(from, whole int, integer bool, exponent int) error {
	token := s.in[from:s.pos]
	if integer {
		if whole <= 18 {
			if whole == 1 && len(token) == 2 && token[1] == '0' {
				s.flush(from, from+1) // -0 is 0
			}
			return nil
		}
		if _, err := strconv.ParseInt(view(token), 10, 64); err != nil {
			return refuse("the integer %.40s does not fit into 64 bits; send it as a string", token)
		}
		return nil
	}
	if len(token) > maxNumberBytes {
		return refuse("the number %.40s… has %d characters; at most %d are allowed", token, len(token), maxNumberBytes)
	}
	if exponent < 0 {
		return nil
	}
	if power, err := strconv.Atoi(view(s.in[exponent:s.pos])); err != nil || power > maxExponent || power < -maxExponent {
		return refuse("the number %.40s has an exponent beyond ±%d", token, maxExponent)
	}
	if f, err := strconv.ParseFloat(view(token), 64); err != nil || math.IsInf(f, 0) {
		return refuse("the number %.40s is too large for a 64-bit float", token)
	}
	return nil
}

// view is b as a string without a copy: b must not change while the string lives.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
