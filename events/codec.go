package events

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unsafe"
)

// A batch is one message of the event stream:
//
//	'N' version | number of sources, each a string | number of events | each: length, event
//	event: kind, flags, source, time, received − time | lengths of six strings | the strings
//	       | raw | properties, context, traits | violations | for a refused call: index + 1, reason
//
// Numbers are varints, strings and bytes have their length before them. Properties, context and
// traits that are a part of raw, as they mostly are, are written as their place in it.
const (
	codecMagic   = 'N'
	codecVersion = 1

	partNone, partOfRaw, partInline = 0, 1, 2
)

// errCorrupt is what a batch that ends too early or contradicts itself gives.
var errCorrupt = errors.New("corrupt batch of events")

// AppendBatch appends the binary form of events to dst. It keeps nothing of evs.
func AppendBatch(dst []byte, evs []Event) []byte {
	dst = append(dst, codecMagic, codecVersion)
	var sources []string
	for i := range evs {
		if sourceIndex(sources, evs[i].Source) < 0 {
			sources = append(sources, evs[i].Source)
		}
	}
	dst = binary.AppendUvarint(dst, uint64(len(sources)))
	for _, s := range sources {
		dst = appendText(dst, s)
	}
	dst = binary.AppendUvarint(dst, uint64(len(evs)))
	for i := range evs {
		// The length goes before the event, in a fixed three bytes (2 MB), or more if it must.
		at := len(dst)
		dst = append(dst, 0, 0, 0)
		dst = appendEvent(dst, &evs[i], sourceIndex(sources, evs[i].Source))
		size := len(dst) - at - 3
		if size < 1<<21 {
			dst[at], dst[at+1], dst[at+2] = byte(size)|0x80, byte(size>>7)|0x80, byte(size>>14)
			continue
		}
		body := append([]byte(nil), dst[at+3:]...)
		dst = append(binary.AppendUvarint(dst[:at], uint64(size)), body...)
	}
	return dst
}

func sourceIndex(sources []string, s string) int {
	for i := range sources {
		if sources[i] == s {
			return i
		}
	}
	return -1
}

// EncodedSize is at least the number of bytes that the event takes in a batch.
func EncodedSize(ev *Event) int {
	n := 96 + len(ev.Source) + len(ev.MessageID) + len(ev.UserID) + len(ev.AnonymousID) +
		len(ev.PreviousID) + len(ev.GroupID) + len(ev.Name) + len(ev.Raw) + len(ev.Reason)
	for _, part := range [...][]byte{ev.Properties, ev.Context, ev.Traits} {
		if _, inside := PlaceIn(ev.Raw, part); !inside {
			n += len(part)
		}
	}
	for _, v := range ev.Violations {
		n += len(v) + 4
	}
	return n
}

func appendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

func appendEvent(dst []byte, ev *Event, source int) []byte {
	dst = append(dst, byte(ev.Kind))
	dst = binary.AppendUvarint(dst, uint64(ev.Flags))
	dst = binary.AppendUvarint(dst, uint64(source))
	dst = binary.AppendVarint(dst, ev.Time)
	dst = binary.AppendVarint(dst, ev.ReceivedAt-ev.Time)
	texts := [...]string{ev.MessageID, ev.UserID, ev.AnonymousID, ev.PreviousID, ev.GroupID, ev.Name}
	for _, s := range texts {
		dst = binary.AppendUvarint(dst, uint64(len(s)))
	}
	for _, s := range texts {
		dst = append(dst, s...)
	}
	dst = binary.AppendUvarint(dst, uint64(len(ev.Raw)))
	dst = append(dst, ev.Raw...)
	for _, part := range [...][]byte{ev.Properties, ev.Context, ev.Traits} {
		if part == nil {
			dst = append(dst, partNone)
		} else if off, inside := PlaceIn(ev.Raw, part); inside {
			dst = append(dst, partOfRaw)
			dst = binary.AppendUvarint(dst, uint64(off))
			dst = binary.AppendUvarint(dst, uint64(len(part)))
		} else {
			dst = append(dst, partInline)
			dst = binary.AppendUvarint(dst, uint64(len(part)))
			dst = append(dst, part...)
		}
	}
	dst = binary.AppendUvarint(dst, uint64(len(ev.Violations)))
	for _, v := range ev.Violations {
		dst = appendText(dst, v)
	}
	if ev.Kind == KindRefused {
		dst = binary.AppendUvarint(dst, uint64(ev.Index+1))
		dst = appendText(dst, ev.Reason)
	}
	return dst
}

// PlaceIn tells where part lies in raw, if it is a piece of the same memory, as properties, context and traits of what
// DecodeBatch reads are of Raw unless they had to be written anew.
func PlaceIn(raw, part []byte) (offset int, inside bool) {
	if len(part) == 0 || len(raw) < len(part) {
		return 0, false
	}
	off := uintptr(unsafe.Pointer(unsafe.SliceData(part))) - uintptr(unsafe.Pointer(unsafe.SliceData(raw)))
	if off > uintptr(len(raw)-len(part)) { // also if part lies before raw: the difference wraps
		return 0, false
	}
	return int(off), true
}

// DecodeBatch reads what AppendBatch wrote. The byte fields of the events are parts of data, which
// must not change afterwards; the strings of each event are a copy of their own, so that keeping one
// does not keep the message.
func DecodeBatch(data []byte) ([]Event, error) {
	r := reader{b: data}
	if magic := r.bytes(2); r.failed || magic[0] != codecMagic {
		return nil, errCorrupt
	} else if magic[1] != codecVersion {
		return nil, fmt.Errorf("batch of events has version %d; this program reads version %d", magic[1], codecVersion)
	}
	sources := make([]string, r.count(1))
	for i := range sources {
		sources[i] = string(r.bytes(r.length()))
	}
	evs := make([]Event, r.count(16))
	for i := range evs {
		e := reader{b: r.bytes(r.length())}
		if r.failed || !e.event(&evs[i], sources) {
			return nil, fmt.Errorf("event %d of %d: %w", i, len(evs), errCorrupt)
		}
	}
	if r.failed || len(r.b) != 0 {
		return nil, errCorrupt
	}
	return evs, nil
}

// reader takes pieces off the front of b. Once failed, it gives zeros.
type reader struct {
	b      []byte
	failed bool
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.failed, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.failed, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

// length is a number of bytes that must still be there.
func (r *reader) length() int { return r.count(1) }

// count is a number of things of at least size bytes that must still be there.
func (r *reader) count(size int) int {
	v := r.uvarint()
	if v > uint64(len(r.b)/size) {
		r.failed, r.b = true, nil
		return 0
	}
	return int(v)
}

func (r *reader) bytes(n int) []byte {
	if n > len(r.b) {
		r.failed, r.b = true, nil
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) event(ev *Event, sources []string) bool {
	kind := r.bytes(1)
	if r.failed {
		return false
	}
	ev.Kind = Kind(kind[0])
	ev.Flags = Flags(r.uvarint())
	source := r.uvarint()
	if source >= uint64(len(sources)) {
		return false
	}
	ev.Source = sources[source]
	ev.Time = r.varint()
	ev.ReceivedAt = ev.Time + r.varint()
	r.texts(ev)
	if n := r.length(); n > 0 {
		ev.Raw = r.bytes(n)
	}
	ev.Properties, ev.Context, ev.Traits = r.part(ev.Raw), r.part(ev.Raw), r.part(ev.Raw)
	if n := r.count(1); n > 0 {
		ev.Violations = make([]string, n)
		for i := range ev.Violations {
			ev.Violations[i] = string(r.bytes(r.length()))
		}
	}
	if ev.Kind == KindRefused {
		ev.Index = int(r.uvarint()) - 1
		ev.Reason = string(r.bytes(r.length()))
	}
	return !r.failed && len(r.b) == 0
}

// texts reads the six strings into one allocation.
func (r *reader) texts(ev *Event) {
	var lengths [6]int
	total := 0
	for i := range lengths {
		lengths[i] = r.length()
		total += lengths[i]
	}
	all := string(r.bytes(total))
	if r.failed {
		return
	}
	for i, field := range [...]*string{&ev.MessageID, &ev.UserID, &ev.AnonymousID, &ev.PreviousID, &ev.GroupID, &ev.Name} {
		*field, all = all[:lengths[i]], all[lengths[i]:]
	}
}

func (r *reader) part(raw []byte) []byte {
	tag := r.bytes(1)
	if r.failed {
		return nil
	}
	switch tag[0] {
	case partNone:
		return nil
	case partOfRaw:
		off, n := r.uvarint(), r.uvarint()
		if off > uint64(len(raw)) || n > uint64(len(raw))-off {
			break
		}
		return raw[off : off+n : off+n]
	case partInline:
		if v := r.bytes(r.length()); v != nil {
			return v
		}
	}
	r.failed, r.b = true, nil
	return nil
}

// CopyEvent returns an event that shares no memory with ev, for those who keep what they were lent.
func CopyEvent(ev *Event) Event {
	evs, err := DecodeBatch(AppendBatch(nil, []Event{*ev}))
	if err != nil {
		panic("events: a batch just written cannot be read: " + err.Error())
	}
	return evs[0]
}
