package send

import (
	"context"
	"encoding/json"
	"errors"
	"hash/fnv"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"nudge/channels"
	"nudge/events"
	"nudge/events/queue"
)

// Receipts answers the reports of apps, the clicks on links and what providers call back about, as events.
type Receipts struct {
	signer *Signer
	now    func() time.Time
	log    *slog.Logger
	group  group[events.Event]
}

// soonest is how long after the decision a human can have opened a message at the earliest.
const soonest = time.Second

// largestReport bounds the body of a report, which is not read.
const largestReport = 4 << 10

// NewReceipts makes the handlers. Reports that arrive together share one message of the queue.
func NewReceipts(signer *Signer, log EventLog, now func() time.Time, logger *slog.Logger) *Receipts {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	r := &Receipts{signer: signer, now: now, log: logger.With("component", "receipts")}
	r.group.write = func(evs []events.Event) error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		for len(evs) > 0 {
			n := min(len(evs), 500)
			if _, err := log.Append(ctx, evs[:n]); err != nil {
				return err
			}
			evs = evs[n:]
		}
		return nil
	}
	return r
}

// Handler serves POST /v1/messages/{signed}/{opened,clicked,dismissed,delivered,bounced,complained,unsubscribed}, for apps on
// phones and in browsers and for whoever delivers what a webhook got; GET /c/{signed}?u=…, the redirect of rewritten
// links; and GET /o/{signed}, the picture of one pixel that says that a mail is open.
func (r *Receipts) Handler() http.Handler {
	mux := http.NewServeMux()
	var known []string
	for _, what := range []channels.What{
		channels.Opened, channels.Clicked, channels.Dismissed, channels.Delivered, channels.Bounced, channels.Complained, channels.Unsubscribed,
	} {
		known = append(known, string(what))
		mux.HandleFunc("POST /v1/messages/{signed}/"+string(what), func(w http.ResponseWriter, req *http.Request) { r.report(w, req, what) })
	}
	mux.HandleFunc("POST /v1/messages/{signed}/{what}", func(w http.ResponseWriter, _ *http.Request) {
		allowAll(w)
		answer(w, http.StatusNotFound, `{"success":false,"message":"a message's report is one of `+strings.Join(known, ", ")+`"}`)
	})
	mux.HandleFunc("OPTIONS /v1/messages/{signed}/{what}", func(w http.ResponseWriter, _ *http.Request) {
		allowAll(w)
		w.Header().Set("Access-Control-Allow-Methods", "POST")
		w.Header().Set("Access-Control-Allow-Headers", "Content-Type")
		w.Header().Set("Access-Control-Max-Age", "86400")
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("GET /c/{signed}", r.click) // and HEAD
	mux.HandleFunc("GET /o/{signed}", r.pixel)
	return mux
}

// allowAll: the signature is what allows, not the origin.
func allowAll(w http.ResponseWriter) { w.Header().Set("Access-Control-Allow-Origin", "*") }

func (r *Receipts) report(w http.ResponseWriter, req *http.Request, what channels.What) {
	allowAll(w)
	_, _ = io.Copy(io.Discard, io.LimitReader(req.Body, largestReport))
	m, err := r.signer.Verify(req.PathValue("signed"))
	if err != nil {
		answer(w, http.StatusNotFound, `{"success":false,"message":"the signed message id is not valid; send the one that came with the message"}`)
		return
	}
	r.answer(w, r.record(req.Context(), m, r.seen(req, m, what)))
}

// answer says whether reports were recorded.
func (r *Receipts) answer(w http.ResponseWriter, err error) {
	switch {
	case err == nil:
		answer(w, http.StatusOK, `{"success":true}`)
	case errors.Is(err, queue.ErrBacklog):
		w.Header().Set("Retry-After", "5")
		answer(w, http.StatusServiceUnavailable, `{"success":false,"message":"too much waits to be written; try again"}`)
	default:
		r.log.Error("a report is not recorded", "error", err)
		w.Header().Set("Retry-After", "5")
		answer(w, http.StatusServiceUnavailable, `{"success":false,"message":"the report could not be recorded; try again"}`)
	}
}

func answer(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

// click leads on to the target, which the signature covers: nobody can make this host redirect
// elsewhere. A click that cannot be recorded leads on all the same.
func (r *Receipts) click(w http.ResponseWriter, req *http.Request) {
	target := req.URL.Query().Get("u")
	m, err := r.signer.verify(req.PathValue("signed"), target)
	if err != nil || target == "" {
		http.Error(w, "This link is not valid.", http.StatusNotFound)
		return
	}
	clicked := r.seen(req, m, channels.Clicked)
	clicked.Link = target
	if err := r.record(req.Context(), m, clicked); err != nil {
		r.log.Error("a click is not recorded", "rule", m.Rule, "error", err)
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer")
	http.Redirect(w, req, target, http.StatusFound)
}

// pixel is a picture that nobody sees: 1 × 1, transparent, a GIF.
var pixel = []byte("GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\x00\x00\x00!\xf9\x04\x01\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;")

// pixel records an open. Whoever asks for a picture gets one, whatever becomes of the record.
func (r *Receipts) pixel(w http.ResponseWriter, req *http.Request) {
	if m, err := r.signer.verify(req.PathValue("signed"), forPixel); err == nil {
		if err := r.record(req.Context(), m, r.seen(req, m, channels.Opened)); err != nil {
			r.log.Error("an open is not recorded", "rule", m.Rule, "error", err)
		}
	}
	w.Header().Set("Content-Type", "image/gif")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(pixel)
}

// seen is the report that a request makes by itself.
func (r *Receipts) seen(req *http.Request, m MessageRef, what channels.What) channels.Report {
	rep := channels.Report{What: what}
	if what == channels.Opened || what == channels.Clicked {
		rep.Machine = byMachine(req, r.now().UnixMilli()-m.Decided)
	}
	return rep
}

// record appends the events of a report. Reporting again changes nothing, except that a human's report counts beside a
// machine's.
func (r *Receipts) record(ctx context.Context, m MessageRef, rep channels.Report) error {
	now := r.now().UnixMilli()
	at := now
	if !rep.At.IsZero() {
		at = min(now, max(rep.At.UnixMilli(), m.Decided))
	}
	return r.group.add(ctx, happened(m, rep, at, now))
}

// eventOf has the Message event of what is one.
func eventOf(what channels.What) string {
	switch what {
	case channels.Delivered:
		return events.MessageDelivered
	case channels.Opened:
		return events.MessageOpened
	case channels.Clicked:
		return events.MessageClicked
	case channels.Dismissed:
		return events.MessageDismissed
	case channels.Bounced:
		return events.MessageBounced
	case channels.Complained:
		return events.MessageComplained
	default:
		return ""
	}
}

// happened makes the events of a report about a message, of what happened at and is heard of now.
//
// A consent is recorded anew whenever it is reported at another instant: who has come back may leave again.
func happened(m MessageRef, rep channels.Report, at, now int64) []events.Event {
	id := messageID(m.Entry, m.Channel, string(rep.What))
	var evs []events.Event
	add := func(ev events.Event) {
		ev.Source, ev.Time, ev.ReceivedAt, ev.UserID, ev.AnonymousID = eventSource, at, now, m.UserID, m.AnonymousID
		evs = append(evs, ev)
	}
	if name := eventOf(rep.What); name != "" {
		props := map[string]any{"rule": m.Rule, "entry": m.Entry, "channel": m.Channel}
		put(props, "variant", m.Variant)
		put(props, "category", m.Category)
		put(props, "link", rep.Link)
		put(props, "reason", clip(strings.TrimSpace(rep.Code+" "+rep.Detail), 500))
		of := id
		if rep.Link != "" {
			h := fnv.New64a()
			_, _ = h.Write([]byte(rep.Link))
			of += "/" + strconv.FormatUint(h.Sum64(), 36)
		}
		ev := messageEvent(name, of, now, props)
		if rep.Machine {
			ev.MessageID += "/machine"
			ev.Flags |= events.MachineOpen
		}
		add(ev)
	}
	switch rep.What {
	case channels.Bounced:
		if kind := kindOf(rep.Dead); kind != "" {
			add(undeliverable(kind, rep.Dead, "", "", id+"/dead", now))
		}
	case channels.Complained: // about all that the channel sends: who says spam means the sender
		add(withdrawn(events.ConsentChange{Channel: m.Channel}, id+"/"+strconv.FormatInt(at, 36)))
	case channels.Unsubscribed:
		add(withdrawn(events.ConsentChange{Channel: m.Channel, Category: m.Category}, id+"/"+strconv.FormatInt(at, 36)))
	default:
	}
	return evs
}

// kindOf is the kind of an address: "email", "phone" or "".
func kindOf(address string) string {
	switch {
	case address == "":
		return ""
	case strings.Contains(address, "@"):
		return "email"
	default:
		return "phone"
	}
}

// withdrawn makes the event of a consent given or withdrawn, without a person.
func withdrawn(c events.ConsentChange, id string) events.Event {
	raw, err := json.Marshal(c)
	if err != nil {
		panic(err) // plain fields
	}
	return events.Event{Kind: events.KindConsent, MessageID: id, Properties: raw}
}

// libraries follow links for no human, but an app's own back end may report with one.
var libraries = []string{"curl/", "wget/", "python-requests", "go-http-client", "java/"}

// byMachine says whether no human made the request, as far as one can tell.
func byMachine(req *http.Request, since int64) bool {
	if req.Method == http.MethodHead || since < soonest.Milliseconds() {
		return true
	}
	for _, h := range []string{"Purpose", "Sec-Purpose", "X-Purpose", "X-Moz"} {
		if v := strings.ToLower(req.Header.Get(h)); strings.Contains(v, "prefetch") || strings.Contains(v, "preview") {
			return true
		}
	}
	agent := req.UserAgent()
	library := func(word string) bool { return strings.Contains(strings.ToLower(agent), word) }
	return channels.ByMachine(agent) || req.Method == http.MethodGet && slices.ContainsFunc(libraries, library)
}
