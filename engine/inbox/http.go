package inbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"nudge/channels"
	"nudge/events"
)

// Token is what POST /v1/users/{id}/inbox/token answers.
type Token struct {
	Token   string    `json:"token"`   // Authorization: Bearer TOKEN
	Expires time.Time `json:"expires"` // from then on it reads nothing
}

const (
	// tokenFor is how long a token holds where nobody says, longestToken the longest that it can.
	tokenFor     = 30 * 24 * time.Hour
	longestToken = 366 * 24 * time.Hour
	// largestRequest bounds the body of a request for a token, in bytes.
	largestRequest = 4 << 10
	// pageOf is how many messages a page has where nobody says, largestPage the most.
	pageOf      = 20
	largestPage = 100
)

// Tokens serves POST /v1/users/{id}/inbox/token. Whoever mounts it lets only secret keys through.
func (in *Inbox) Tokens() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user := r.PathValue("id")
		if user == "" || len(user) > events.MaxIDBytes {
			fail(w, http.StatusBadRequest, fmt.Sprintf("the user id has %d bytes; between 1 and %d are allowed", len(user), events.MaxIDBytes))
			return
		}
		ttl, err := askedTTL(http.MaxBytesReader(w, r.Body, largestRequest))
		if err != nil {
			fail(w, http.StatusBadRequest, err.Error())
			return
		}
		expires := in.o.Now().Add(ttl).Truncate(time.Second).UTC()
		w.Header().Set("Cache-Control", "no-store")
		write(w, http.StatusOK, Token{in.o.Signer.InboxToken(user, expires.UnixMilli()), expires})
	})
}

// askedTTL reads the body of a request for a token.
func askedTTL(body io.Reader) (time.Duration, error) {
	const want = `send {"ttl": "7d"}, or nothing for 30 days`
	raw, err := io.ReadAll(body)
	if err != nil {
		return 0, fmt.Errorf("the body could not be read, or has more than %d bytes; %s", largestRequest, want)
	}
	var asked struct {
		TTL *string `json:"ttl"`
	}
	if raw = bytes.TrimSpace(raw); len(raw) > 0 {
		dec := json.NewDecoder(bytes.NewReader(raw))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&asked); err != nil || dec.More() {
			return 0, errors.New("the body is not what this call expects; " + want)
		}
	}
	if asked.TTL == nil {
		return tokenFor, nil
	}
	ttl, err := channels.ParseDuration(*asked.TTL)
	if err != nil || ttl < time.Second || ttl > longestToken {
		return 0, fmt.Errorf("ttl is %q; write a duration from 1s to 366d: 12h, 7d", *asked.TTL)
	}
	return ttl, nil
}

// user says whose token a request has. Otherwise it answers.
func (in *Inbox) user(w http.ResponseWriter, r *http.Request, query bool) (user string, expires time.Time, ok bool) {
	anyOrigin(w)
	w.Header().Set("Cache-Control", "no-store")
	token := ""
	if scheme, rest, found := strings.Cut(r.Header.Get("Authorization"), " "); found && strings.EqualFold(scheme, "Bearer") {
		token = strings.TrimSpace(rest)
	} else if query {
		token = r.URL.Query().Get("token")
	}
	refuse := func(why string) (string, time.Time, bool) {
		w.Header().Set("WWW-Authenticate", `Bearer realm="inbox"`)
		fail(w, http.StatusUnauthorized, why)
		return "", time.Time{}, false
	}
	if token == "" {
		return refuse("the token is missing; send Authorization: Bearer TOKEN, with one that your back end gets by POST /v1/users/{id}/inbox/token and a secret key")
	}
	user, at, err := in.o.Signer.VerifyInboxToken(token)
	if err != nil {
		return refuse("the token is not valid; it is the one of POST /v1/users/{id}/inbox/token, whole and unchanged, and no write key")
	}
	if expires = time.UnixMilli(at); !expires.After(in.o.Now()) {
		return refuse("the token has expired; have your back end get another one by POST /v1/users/{id}/inbox/token")
	}
	return user, expires, true
}

// list serves GET /v1/inbox.
func (in *Inbox) list(w http.ResponseWriter, r *http.Request) {
	user, _, ok := in.user(w, r, false)
	if !ok {
		return
	}
	limit, from := pageOf, place{^uint64(0), 0}
	for name, values := range r.URL.Query() {
		value, good := values[0], len(values) == 1
		switch name {
		case "limit":
			n, err := strconv.Atoi(value)
			if err != nil || n < 1 || n > largestPage || !good {
				fail(w, http.StatusBadRequest, fmt.Sprintf("limit is %q; it is a whole number from 1 to %d", value, largestPage))
				return
			}
			limit = n
		case "before":
			if from, good = parsePlace(value); !good {
				fail(w, http.StatusBadRequest, fmt.Sprintf("before is %q; send what the page before had as next", value))
				return
			}
		default:
			fail(w, http.StatusBadRequest, fmt.Sprintf("there is no parameter %q; there are limit and before", name))
			return
		}
	}
	all, err := in.messages(r.Context(), user)
	if err != nil {
		in.unavailable(w, r, err)
		return
	}
	page := Page{Messages: []Message{}}
	for _, m := range all {
		if !m.Read {
			page.Unread++
		}
		switch {
		case !from.after(m.place):
		case len(page.Messages) < limit:
			page.Messages = append(page.Messages, m)
		case page.Next == "":
			page.Next = page.Messages[limit-1].place.String()
		}
	}
	write(w, http.StatusOK, page)
}

func (in *Inbox) unavailable(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() == nil {
		in.log.Error("an inbox cannot be read", "error", err)
	}
	w.Header().Set("Retry-After", "5")
	fail(w, http.StatusServiceUnavailable, "the inbox cannot be read at the moment; try again")
}

const (
	// aliveEvery is how often a stream that has nothing to say says so, so that nothing between takes it for dead.
	aliveEvery = 25 * time.Second
	// comeBackAfter is when a reader comes back that was cut off, in milliseconds.
	comeBackAfter = 3000
	// writeFor is how long one write to a reader may take.
	writeFor = 10 * time.Second
)

// stream serves GET /v1/inbox/stream: server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html).
// The id of an event is its place in the delivery stream, so that a reader who comes back with Last-Event-ID, to this
// process or the next, misses none and gets none twice.
func (in *Inbox) stream(w http.ResponseWriter, r *http.Request) {
	user, expires, ok := in.user(w, r, true)
	if !ok {
		return
	}
	last, resumes := place{}, false
	if id := r.Header.Get("Last-Event-ID"); id != "" {
		if last, resumes = parsePlace(id); !resumes {
			fail(w, http.StatusBadRequest, fmt.Sprintf("Last-Event-ID is %q; send the id of the last event that came, or none", id))
			return
		}
	}
	s, since, err := in.feed.listen(user)
	if err != nil {
		status := http.StatusServiceUnavailable
		if errors.Is(err, errOfUser) {
			status = http.StatusTooManyRequests
		}
		w.Header().Set("Retry-After", strconv.Itoa(comeBackAfter/1000))
		fail(w, status, err.Error())
		return
	}
	defer in.feed.leave(s)
	var missed []Message
	if resumes {
		if missed, err = in.missed(r.Context(), user, last, since); err != nil {
			in.unavailable(w, r, err)
			return
		}
		if last.after(since) { // this process has not come as far yet as the one before
			since = last
		}
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // nginx hands on what comes as it comes
	out := newSSE(w)
	if out.start(comeBackAfter) != nil {
		return
	}
	for i := range missed {
		if out.message(&missed[i]) != nil {
			return
		}
	}
	if out.at(since) != nil {
		return
	}
	in.follow(r.Context(), s, out, since, expires)
}

// missed are the messages behind `last`, up to `since`, in the order in which they came.
func (in *Inbox) missed(ctx context.Context, user string, last, since place) ([]Message, error) {
	all, err := in.messages(ctx, user)
	if err != nil {
		return nil, err
	}
	var out []Message
	for _, m := range slices.Backward(all) {
		if m.place.after(last) && !m.place.after(since) {
			out = append(out, m)
		}
	}
	return out, nil
}

// follow sends what arrives behind `since`, until the stream ends.
func (in *Inbox) follow(ctx context.Context, s *stream, out *sse, since place, expires time.Time) {
	alive := time.NewTicker(aliveEvery)
	defer alive.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case d, ok := <-s.news:
			if !ok || !expires.After(in.o.Now()) {
				return
			}
			if !d.after(since) {
				continue
			}
			since = d.place
			if m, ok := in.message(&d); ok {
				err = out.message(&m)
			}
		case <-alive.C:
			if !expires.After(in.o.Now()) {
				return
			}
			err = out.comment()
		}
		if err != nil {
			return
		}
	}
}

// sse writes server-sent events.
type sse struct {
	w    http.ResponseWriter
	ctrl *http.ResponseController
}

func newSSE(w http.ResponseWriter) *sse {
	s := &sse{w, http.NewResponseController(w)}
	// The server's own deadlines are for answers that end. What cannot set any has none.
	_ = s.ctrl.SetReadDeadline(time.Time{})
	_ = s.ctrl.SetWriteDeadline(time.Time{})
	return s
}

// put writes and flushes. A reader who takes nothing for writeFor is given up.
func (s *sse) put(text string) error {
	slow := time.AfterFunc(writeFor, func() { _ = s.ctrl.SetWriteDeadline(time.Unix(1, 0)) })
	defer slow.Stop()
	if _, err := io.WriteString(s.w, text); err != nil {
		return fmt.Errorf("write to a stream: %w", err)
	}
	if err := s.ctrl.Flush(); err != nil {
		return fmt.Errorf("write to a stream: %w", err)
	}
	return nil
}

func (s *sse) start(comeBack int) error { return s.put(fmt.Sprintf("retry: %d\n\n", comeBack)) }

// at tells the reader where to resume while nothing has come: an id without data is no event.
func (s *sse) at(p place) error { return s.put("id: " + p.String() + "\n\n") }

func (s *sse) comment() error { return s.put(": still here\n\n") }

func (s *sse) message(m *Message) error {
	return s.put("id: " + m.place.String() + "\nevent: message\ndata: " + string(encoded(m)) + "\n\n")
}

// problem is an answer that is not what was asked for; ingest.Answer has its schema.
type problem struct {
	Success bool   `json:"success"`
	Message string `json:"message"`
}

func fail(w http.ResponseWriter, status int, why string) {
	write(w, status, problem{Message: strings.ToValidUTF8(why, "\ufffd")})
}

func write(w http.ResponseWriter, status int, answer any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(encoded(answer))
}

// encoded is an answer as JSON, on one line.
func encoded(answer any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(answer); err != nil {
		panic(fmt.Sprintf("inbox: encode %T: %v", answer, err)) // of texts that were JSON
	}
	return bytes.TrimSpace(b.Bytes())
}
