package shout

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/nicholas-fedor/shoutrrr/pkg/types"
)

// ChildArg is the argument of a process that is to be the child. `nudge chat-child` is never typed by hand.
const ChildArg = "chat-child"

// childMark is set in the environment of a child, so that a program that does not call MaybeRunChild cannot start
// itself over and over.
const childMark = "NUDGE_CHAT_CHILD"

// maxBody is the most of a request's body that the child hands back, in bytes.
const maxBody = 1 << 20

// question is a line to the child: a post, and the answers to its requests so far.
type question struct {
	Post    Post     `json:"post"`
	Answers []Answer `json:"answers,omitempty"`
}

// Step is what comes next of a post: a request, or nothing more.
type Step struct {
	Request *Request `json:"request,omitempty"`
	// Problem is why the library makes no request, "" where it has made all. It may quote the URL and the message.
	Problem string `json:"problem,omitempty"`
}

// MaybeRunChild runs the child and ends the process if the process was started to be it; otherwise it returns at once.
// Programs that use Process call it first thing in main.
func MaybeRunChild() {
	if len(os.Args) != 2 || os.Args[1] != ChildArg || os.Getenv(childMark) == "" {
		return
	}
	// Ctrl-C in a terminal reaches the whole process group; the child ends when its standard input does.
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	r := &recorder{}
	http.DefaultTransport = r // this process has no other use for it, and the library no other way
	out := os.Stdout
	os.Stdout = os.Stderr // nobody else writes between the answers
	if err := answer(os.Stdin, out, r); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1) //nolint:forbidigo // this is the child's main
	}
	os.Exit(0) //nolint:forbidigo // this is the child's main
}

// answer answers questions, one after the other, until there are no more.
func answer(in io.Reader, out io.Writer, r *recorder) error {
	questions, steps := json.NewDecoder(in), json.NewEncoder(out)
	for {
		var q question
		switch err := questions.Decode(&q); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return errors.New("a question that is not JSON")
		}
		if err := steps.Encode(r.step(q)); err != nil {
			return errors.New("nobody reads the answers")
		}
	}
}

// recorder is the network as the library sees it: it knows some answers, and keeps the first request without one.
type recorder struct {
	answers []Answer
	next    *Request
	problem error
}

// errHeld is what the library is told of a request that is kept.
var errHeld = errors.New("held")

// step plays a post up to the first request that has no answer yet.
func (r *recorder) step(q question) Step {
	*r = recorder{answers: q.Answers}
	err := r.play(q.Post)
	switch {
	case r.problem != nil:
		return Step{Problem: r.problem.Error()}
	case r.next != nil:
		return Step{Request: r.next} // whatever the library makes of a request that failed
	case err != nil:
		return Step{Problem: err.Error()}
	}
	return Step{}
}

// play lets the library post.
func (r *recorder) play(p Post) (err error) {
	defer func() {
		if value := recover(); value != nil { // the library's Zulip does, of every request that fails
			err = errors.New("the library broke down")
		}
	}()
	s, err := open(p.URL)
	if err != nil {
		return err
	}
	params := types.Params(p.Params)
	if params == nil {
		params = types.Params{}
	}
	if err := s.Send(p.Text, &params); err != nil {
		return fmt.Errorf("posting: %w", err)
	}
	return nil
}

// RoundTrip implements http.RoundTripper.
func (r *recorder) RoundTrip(request *http.Request) (*http.Response, error) {
	var body []byte
	if request.Body != nil {
		var err error
		body, err = io.ReadAll(io.LimitReader(request.Body, maxBody+1))
		_ = request.Body.Close()
		if err != nil || len(body) > maxBody {
			r.problem = errors.New("the request is too large")
			return nil, r.problem
		}
	}
	if r.next != nil {
		return nil, errHeld
	}
	if len(r.answers) > 0 {
		a := r.answers[0]
		r.answers = r.answers[1:]
		return &http.Response{
			Status: http.StatusText(a.Status), StatusCode: a.Status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
			Header: a.Header.Clone(), Body: io.NopCloser(bytes.NewReader(a.Body)), ContentLength: int64(len(a.Body)), Request: request,
		}, nil
	}
	at := *request.URL
	at.User = nil // it stands in the Authorization header by now
	r.next = &Request{Method: request.Method, URL: at.String(), Header: request.Header.Clone(), Body: body}
	return nil, errHeld
}
