package send

import (
	"context"
	"errors"
	"hash/fnv"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"nudge/events"
	"nudge/events/queue"
)

// Receipts answers the reports of apps and the clicks on links, as Message events.
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

// Handler serves POST /v1/messages/{signed}/{opened,clicked,delivered}, for apps on phones and in
// browsers, and GET /c/{signed}?u=…, the redirect of rewritten links.
func (r *Receipts) Handler() http.Handler {
	mux := http.NewServeMux()
	for path, name := range map[string]string{
		"opened": events.MessageOpened, "clicked": events.MessageClicked, "delivered": events.MessageDelivered,
	} {
		mux.HandleFunc("POST /v1/messages/{signed}/"+path, func(w http.ResponseWriter, req *http.Request) { r.report(w, req, name) })
	}
	mux.HandleFunc("OPTIONS /v1/messages/{signed}/{what}", func(w http.ResponseWriter, _ *http.Request) {
		allowAll(w)
		w.Header().Set("Access-Control-Allow-Methods", "POST")
		w.Header().Set("Access-Control-Allow-Headers", "Content-Type")
		w.Header().Set("Access-Control-Max-Age", "86400")
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("GET /c/{signed}", r.click) // and HEAD
	return mux
}

// allowAll: the signature is what allows, not the origin.
func allowAll(w http.ResponseWriter) { w.Header().Set("Access-Control-Allow-Origin", "*") }

func (r *Receipts) report(w http.ResponseWriter, req *http.Request, name string) {
	allowAll(w)
	_, _ = io.Copy(io.Discard, io.LimitReader(req.Body, largestReport))
	m, err := r.signer.Verify(req.PathValue("signed"))
	if err != nil {
		answer(w, http.StatusNotFound, `{"success":false,"message":"the signed message id is not valid; send the one that came with the message"}`)
		return
	}
	switch err := r.record(req.Context(), req, m, name, ""); {
	case err == nil:
		answer(w, http.StatusOK, `{"success":true}`)
	case errors.Is(err, queue.ErrBacklog):
		w.Header().Set("Retry-After", "5")
		answer(w, http.StatusServiceUnavailable, `{"success":false,"message":"too much waits to be written; try again"}`)
	default:
		r.log.Error("a report is not recorded", "event", name, "error", err)
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
	if err := r.record(req.Context(), req, m, events.MessageClicked, target); err != nil {
		r.log.Error("a click is not recorded", "rule", m.Rule, "error", err)
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer")
	http.Redirect(w, req, target, http.StatusFound)
}

// record appends the Message event of a report. Reporting again changes nothing, except that a
// human's report counts beside a machine's.
func (r *Receipts) record(ctx context.Context, req *http.Request, m MessageRef, name, link string) error {
	now := r.now().UnixMilli()
	what := strings.ToLower(strings.TrimPrefix(name, "Message "))
	id := messageID(m.Entry, m.Channel, what)
	props := map[string]any{"rule": m.Rule, "entry": m.Entry, "channel": m.Channel}
	put(props, "variant", m.Variant)
	put(props, "category", m.Category)
	put(props, "link", link)
	if link != "" {
		h := fnv.New64a()
		_, _ = h.Write([]byte(link))
		id += "/" + strconv.FormatUint(h.Sum64(), 36)
	}
	machine := name != events.MessageDelivered && byMachine(req, now-m.Decided)
	if machine {
		id += "/machine"
	}
	ev := messageEvent(name, id, now, props)
	ev.UserID, ev.AnonymousID = m.UserID, m.AnonymousID
	if machine {
		ev.Flags |= events.MachineOpen
	}
	return r.group.add(ctx, []events.Event{ev})
}

// machines are words in the user agents of programs that open mail and follow links unasked:
// image proxies, scanners, previews. Lower case. ("bot" alone is also a maker of phones.)
var machines = []string{
	"googleimageproxy", "ggpht.com", "yahoomailproxy", "bot/", "bot;", "+http", "crawler", "spider",
	"preview", "facebookexternalhit", "slack-imgproxy", "whatsapp", "proofpoint", "barracuda",
	"mimecast", "safelinks", "headlesschrome", "scanner",
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
	agent := strings.ToLower(req.UserAgent())
	if agent == "mozilla/5.0" { // Apple Mail Privacy Protection says no more than this
		return true
	}
	contains := func(word string) bool { return strings.Contains(agent, word) }
	return slices.ContainsFunc(machines, contains) || req.Method == http.MethodGet && slices.ContainsFunc(libraries, contains)
}
