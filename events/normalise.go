package events

import (
	"encoding/json"
	"errors"
	"strings"
)

// MaxBatch is how many events one batch may hold.
const MaxBatch = 2500

// maxSharedContext bounds the context that a batch may share among its events, because each of them
// carries a copy of it from then on.
const maxSharedContext = 4 << 10

// Call is what the endpoint knows about a request beside its body.
type Call struct {
	Source     string // name of the write key
	ReceivedAt int64  // Unix milliseconds
	MaxAhead   int64  // how far in the future an event may be dated, milliseconds; 0 is DefaultMaxAhead
	Imported   bool   // history: never triggers an `on:` rule
	Secret     bool   // made with a secret key: an alias may merge two known people
}

// Refused is one event of a body that cannot be accepted.
type Refused struct {
	Index  int    // in the batch; 0 for a single call
	Reason string // for the sender
	Raw    []byte // as received; a part of the body
}

// Normaliser reads bodies of the tracking API. It may be used for one body after another, by one
// goroutine at a time. What it returns refers to the body and to memory of its own, so both must be
// left alone until the events have been written or copied (see CopyEvent).
type Normaliser struct {
	s        scanner
	writeKey string
	shared   json.RawMessage // the batch's context
	sentAt   stamp           // the batch's
	drafts   []draft
	refused  []Refused
	events   []Event
	indexes  []int // of events in the batch
}

// stamp is an instant that may be missing.
type stamp struct {
	ms int64
	ok bool
}

// draft is an event whose own fields are read; what the rest of the body says is not in it yet.
type draft struct {
	ev                          Event
	index                       int
	timestamp, original, sentAt stamp
	category                    string
}

// Read parses a body: one call of the given kind, or if kind is 0 a batch whose elements say their
// type. An error is about the whole body and is a *SyntaxError or a *RefusedError; events that are
// refused one by one come from Finish.
func (n *Normaliser) Read(body []byte, kind Kind) error {
	n.s.reset(body)
	clear(n.drafts)
	clear(n.refused)
	n.writeKey, n.shared, n.sentAt = "", nil, stamp{}
	n.drafts, n.refused = n.drafts[:0], n.refused[:0]
	if n.s.peek() != '{' {
		if n.s.pos >= len(body) {
			return &SyntaxError{What: "the body is empty"}
		}
		return &SyntaxError{Offset: n.s.pos, What: "a JSON object was expected"}
	}
	var err error
	if kind == 0 {
		err = n.batch()
	} else {
		err = n.element(0, kind)
	}
	if err != nil {
		return err
	}
	if n.s.peek() != 0 || n.s.pos < len(body) {
		return n.s.syntax("nothing was expected after the object")
	}
	return nil
}

// WriteKey is the write key that the body last read names, or "".
func (n *Normaliser) WriteKey() string { return n.writeKey }

// Count is the number of events in the body last read, refused ones included.
func (n *Normaliser) Count() int { return len(n.drafts) + len(n.refused) }

// batch reads {"batch": […], "sentAt": …, "context": …, "writeKey": …}.
func (n *Normaliser) batch() error {
	found := false
	err := n.s.fields(func(key string) error {
		var err error
		switch key {
		case "batch":
			if found {
				return refuse("stands twice")
			}
			found = true
			if n.s.peek() != '[' {
				return n.s.wrong("an array of calls")
			}
			return n.elements()
		case "context":
			if n.s.peek() == 'n' {
				return n.s.word("null")
			}
			if n.shared, err = n.object(); err == nil && len(n.shared) > maxSharedContext {
				return refuse("has %d bytes; what a batch shares may have %d", len(n.shared), maxSharedContext)
			}
			return err
		case "sentAt":
			n.sentAt.ms, n.sentAt.ok, err = n.s.instant()
			return err
		case "writeKey":
			return n.key()
		default:
			return n.s.skip()
		}
	})
	if err == nil && !found {
		return refuse(`has no "batch"; send {"batch": [ … ]}`)
	}
	return err
}

func (n *Normaliser) elements() error {
	n.s.pos++
	if n.s.peek() == ']' {
		n.s.pos++
		return nil
	}
	for i := 0; ; i++ {
		if i == MaxBatch {
			return refuse("has more than %d events; send them in several batches", MaxBatch)
		}
		if err := n.element(i, 0); err != nil {
			return err
		}
		switch n.s.peek() {
		case ',':
			n.s.pos++
		case ']':
			n.s.pos++
			return nil
		default:
			return n.s.syntax("a comma or a closing bracket was expected after an event")
		}
	}
}

// element reads one call. What is wrong with it alone is noted and does not stop the batch.
func (n *Normaliser) element(index int, kind Kind) error {
	n.s.peek()
	from := n.s.pos
	n.drafts = append(n.drafts, draft{index: index})
	err := n.call(&n.drafts[len(n.drafts)-1], kind)
	if _, ok := errors.AsType[*SyntaxError](err); ok {
		return err
	}
	if err != nil {
		n.s.pos = from
		n.s.leap()
	}
	raw := n.s.in[from:n.s.pos:n.s.pos]
	if err == nil && len(raw) > MaxEventBytes {
		err = refuse("the event has %d bytes; at most %d (32 KB) are allowed", len(raw), MaxEventBytes)
	}
	if err != nil {
		n.refuse(index, err, raw)
		n.drafts = n.drafts[:len(n.drafts)-1]
		return nil
	}
	n.drafts[len(n.drafts)-1].ev.Raw = raw
	return nil
}

func (n *Normaliser) refuse(index int, err error, raw []byte) {
	n.refused = append(n.refused, Refused{Index: index, Reason: err.Error(), Raw: raw})
}

// fields goes over the members of the object at the scanner. The key is valid during the call only.
func (s *scanner) fields(member func(key string) error) error {
	s.pos++
	if s.peek() == '}' {
		s.pos++
		return nil
	}
	for {
		k, err := s.key()
		if err != nil {
			return err
		}
		if s.peek() != ':' {
			return s.syntax("a colon was expected after the key")
		}
		s.pos++
		name := view(s.bytes(k))
		if err := member(name); err != nil {
			return under(strings.Clone(name), err)
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

// call reads the fields of one call into a draft.
func (n *Normaliser) call(d *draft, kind Kind) error {
	s := &n.s
	if s.peek() != '{' {
		return s.wrong("an object")
	}
	d.ev.Kind = kind
	var seen uint32
	once := func(bit uint) error {
		if seen&(1<<bit) != 0 {
			return refuse("stands twice")
		}
		seen |= 1 << bit
		return nil
	}
	var event, name string
	err := s.fields(func(key string) (err error) {
		ev := &d.ev
		var bit uint
		switch key {
		case "type":
			err = n.kind(&ev.Kind, kind)
		case "event":
			bit = 1
			event, err = n.name()
		case "name":
			bit = 2
			name, err = n.name()
		case "userId":
			bit = 3
			ev.UserID, err = n.id()
		case "anonymousId":
			bit = 4
			ev.AnonymousID, err = n.id()
		case "previousId":
			bit = 5
			ev.PreviousID, err = n.id()
		case "groupId":
			bit = 6
			ev.GroupID, err = n.id()
		case "messageId":
			bit = 7
			ev.MessageID, err = n.name()
		case "properties":
			bit = 8
			ev.Properties, err = n.object()
		case "traits":
			bit = 9
			ev.Traits, err = n.object()
		case "context":
			bit = 10
			ev.Context, err = n.object()
		case "timestamp":
			bit = 11
			d.timestamp.ms, d.timestamp.ok, err = s.instant()
		case "originalTimestamp":
			bit = 12
			d.original.ms, d.original.ok, err = s.instant()
		case "sentAt":
			bit = 13
			d.sentAt.ms, d.sentAt.ok, err = s.instant()
		case "category":
			bit = 14
			if s.peek() != '"' {
				return s.skip()
			}
			d.category, err = s.text1()
		case "writeKey":
			return n.key()
		default:
			return s.skip()
		}
		if err != nil {
			return err
		}
		return once(bit)
	})
	if err != nil {
		return err
	}
	return d.check(event, name)
}

// check looks at what only the whole call can tell.
func (d *draft) check(event, name string) error {
	ev := &d.ev
	switch ev.Kind {
	case 0:
		return refuse("has no type; send one of track, identify, page, screen, group, alias")
	case KindTrack:
		if strings.TrimSpace(event) == "" {
			return &RefusedError{Path: "event", Reason: "is missing: a track call names what happened"}
		}
		if strings.HasPrefix(event, "Message ") {
			return &RefusedError{Path: "event", Reason: "names that begin with \"Message \" are written by nudge alone; report an open or a click by POST /v1/messages/{id}/opened or /clicked"}
		}
		ev.Name = event
	case KindPage, KindScreen:
		ev.Name = name
	case KindGroup:
		if ev.GroupID == "" {
			return &RefusedError{Path: "groupId", Reason: "is missing"}
		}
	case KindAlias:
		if ev.PreviousID == "" {
			return &RefusedError{Path: "previousId", Reason: "is missing"}
		}
		if ev.UserID == "" {
			return &RefusedError{Path: "userId", Reason: "is missing: an alias says whose the previous id is"}
		}
	default: // identify; the others are not calls
	}
	if ev.UserID == "" && ev.AnonymousID == "" {
		return refuse("userId or anonymousId is required")
	}
	if ev.Kind == KindIdentify && len(ev.Traits) <= len("{}") {
		if t, ok := Lookup(ev.Context, "traits"); ok && t[0] == '{' {
			ev.Traits = t // where RudderStack's browser SDK puts them
		}
	}
	if ev.Kind != KindIdentify && ev.Kind != KindGroup {
		ev.Traits = nil
	}
	return nil
}

func (n *Normaliser) kind(kind *Kind, route Kind) error {
	if n.s.peek() != '"' {
		return n.s.wrong("a string")
	}
	text, err := n.s.text1()
	if err != nil {
		return err
	}
	for k := KindTrack; k <= KindAlias; k++ {
		if text != k.String() {
			continue
		}
		if route != 0 && route != k {
			return refuse("is %q, but the call was sent to the address of %s", text, route)
		}
		*kind = k
		return nil
	}
	return refuse("%.40q is not a call; send one of track, identify, page, screen, group, alias", text)
}

// name reads a string that may be null and has the length of a name.
func (n *Normaliser) name() (string, error) {
	switch n.s.peek() {
	case '"':
		text, err := n.s.text1()
		if len(text) > MaxNameBytes {
			return "", refuse("has %d bytes; at most %d are allowed", len(text), MaxNameBytes)
		}
		return text, err
	case 'n':
		return "", n.s.word("null")
	default:
		return "", n.s.wrong("a string")
	}
}

// id reads an id. A whole number is taken as its digits, since many apps number their users.
func (n *Normaliser) id() (string, error) {
	s := &n.s
	switch c := s.peek(); {
	case c == '"':
		text, err := s.text1()
		if len(text) > MaxIDBytes {
			return "", refuse("has %d bytes; at most %d are allowed", len(text), MaxIDBytes)
		}
		return text, err
	case c == 'n':
		return "", s.word("null")
	case c == '-' || c >= '0' && c <= '9':
		from := s.pos
		if err := s.number(); err != nil {
			return "", err
		}
		token := view(s.in[from:s.pos])
		if strings.ContainsAny(token, ".eE") || len(token) > 20 {
			return "", refuse("must be a string, not the number %.40s", token)
		}
		return token, nil
	default:
		return "", s.wrong("a string")
	}
}

func (n *Normaliser) key() error {
	if n.s.peek() != '"' {
		return n.s.skip()
	}
	text, err := n.s.text1()
	n.writeKey = text
	return err
}

// object reads an object into its normal form; null is none.
func (n *Normaliser) object() (json.RawMessage, error) {
	switch n.s.peek() {
	case '{':
	case 'n':
		return nil, n.s.word("null")
	default:
		return nil, n.s.wrong("an object")
	}
	v, err := n.s.normal()
	if err != nil {
		return nil, err
	}
	if n.s.dotted {
		if err := collisions(v); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// Normalise reads one call of the given kind (0: it says its own type) and returns an event that
// shares no memory with body. It is the convenient form of Normaliser, for one event at a time.
func Normalise(body []byte, kind Kind, c Call) (Event, error) {
	var n Normaliser
	n.s.reset([]byte(string(body)))
	if n.s.peek() != '{' {
		return Event{}, &SyntaxError{Offset: n.s.pos, What: "a JSON object was expected"}
	}
	if err := n.element(0, kind); err != nil {
		return Event{}, err
	}
	if n.s.peek() != 0 || n.s.pos < len(body) {
		return Event{}, n.s.syntax("nothing was expected after the object")
	}
	evs, refused := n.Finish(c)
	if len(refused) > 0 {
		return Event{}, &RefusedError{Reason: refused[0].Reason}
	}
	return evs[0], nil
}
