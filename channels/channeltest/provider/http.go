package provider

import (
	"bytes"
	"io"
	"net/http"
	"slices"
	"time"
)

// maxRequest bounds what a server reads of one request, in bytes: above what any provider takes.
const maxRequest = 8 << 20

// Part is one message of a request.
type Part struct {
	ID      string
	Address string
	Body    []byte
}

// Serve handles one request for the servers that are built on net/http: it reads the body, asks
// for the fault, and either obeys it or calls work, which judges the request as the provider
// would. It keeps the log.
func (l *Log) Serve(w http.ResponseWriter, r *http.Request, now time.Time, id, address func(body []byte) string, work func(body []byte) Answer, refuse func(status int, code string) Answer) {
	one := func(body []byte) []Part { return []Part{{ID: id(body), Address: address(body), Body: body}} }
	l.ServeBatch(w, r, now, one, work, refuse)
}

// ServeBatch is Serve for providers that take several messages in one request, and all or none of them. The log
// has each for itself; the first fault that is ordered for one of them happens to the request.
func (l *Log) ServeBatch(w http.ResponseWriter, r *http.Request, now time.Time, parts func(body []byte) []Part, work func(body []byte) Answer, refuse func(status int, code string) Answer) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxRequest))
	if err != nil {
		return // the client went away while it was sending
	}
	within := parts(body)
	received := Received{At: now, Header: r.Header.Clone()}
	add := func() {
		for _, p := range within {
			received.ID, received.Address, received.Body = p.ID, p.Address, p.Body
			l.Add(received)
		}
	}
	fault := l.nextOf(within)
	if fault.Delay > 0 {
		timer := time.NewTimer(fault.Delay)
		select {
		case <-timer.C:
		case <-r.Context().Done():
			timer.Stop()
			add()
			return
		}
	}
	switch {
	case fault.Hang:
		add()
		l.Hanging()
		<-r.Context().Done()
		panic(http.ErrAbortHandler) // returning would answer 200
	case fault.Reset:
		add()
		panic(http.ErrAbortHandler)
	case fault.Garbage:
		add()
		hijackGarbage(w)
		return
	}
	var answer Answer
	if fault.Status != 0 && (fault.Status < 200 || fault.Status > 299) {
		answer = refuse(fault.Status, fault.Code)
	} else {
		answer = work(body)
	}
	if fault.Body != nil {
		answer.Body = fault.Body
	}
	if fault.Echo {
		answer.Body = echo(r, body)
	}
	received.Status, received.Code, received.Accepted = answer.Status, answer.Code, answer.Status >= 200 && answer.Status < 300 && !answer.Checked
	add()
	for name, values := range answer.Header {
		w.Header()[name] = slices.Clone(values)
	}
	for name, values := range fault.Header {
		w.Header()[http.CanonicalHeaderKey(name)] = slices.Clone(values)
	}
	w.WriteHeader(answer.Status)
	if fault.Endless {
		endless(w, r)
		return
	}
	if _, err := w.Write(answer.Body); err != nil {
		return // the client went away: nothing is left to tell it
	}
}

// Answer is what a provider says to one request.
type Answer struct {
	Status int
	Code   string
	Header http.Header
	Body   []byte
	// Checked says that nothing was taken to be sent, whatever the status.
	Checked bool
}

// endless writes until the client hangs up.
func endless(w http.ResponseWriter, r *http.Request) {
	chunk := bytes.Repeat([]byte("x"), 64<<10)
	for r.Context().Err() == nil {
		if _, err := w.Write(chunk); err != nil {
			return
		}
	}
}

// hijackGarbage answers with bytes that are not HTTP; over HTTP/2, where a handler cannot, it cuts
// the stream.
func hijackGarbage(w http.ResponseWriter) {
	hijacker, ok := w.(http.Hijacker)
	if !ok {
		panic(http.ErrAbortHandler)
	}
	conn, _, err := hijacker.Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("\x16\x03\x01 this is not the protocol you are looking for\r\n\r\n")); err != nil {
		return
	}
}

// echo is everything the client sent.
func echo(r *http.Request, body []byte) []byte {
	var out bytes.Buffer
	out.WriteString(r.URL.String() + "\n")
	if err := r.Header.Write(&out); err != nil {
		return nil
	}
	out.Write(body)
	return out.Bytes()
}
