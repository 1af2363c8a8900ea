package ingest

import (
	"net/http"
	"slices"
	"strings"

	"nudge/events"
)

// route is one address of the tracking API.
type route struct {
	path     string
	kind     events.Kind // 0: a batch
	imported bool
}

// tracking lists the tracking API: the spec's addresses, the short ones of browser SDKs, and the one
// of RudderStack's beacon.
func tracking() []route {
	return []route{
		{"/v1/track", events.KindTrack, false},
		{"/v1/identify", events.KindIdentify, false},
		{"/v1/page", events.KindPage, false},
		{"/v1/screen", events.KindScreen, false},
		{"/v1/group", events.KindGroup, false},
		{"/v1/alias", events.KindAlias, false},
		{"/v1/batch", 0, false},
		{"/v1/import", 0, true},
		{"/v1/t", events.KindTrack, false},
		{"/v1/i", events.KindIdentify, false},
		{"/v1/p", events.KindPage, false},
		{"/v1/s", events.KindScreen, false},
		{"/v1/g", events.KindGroup, false},
		{"/v1/a", events.KindAlias, false},
		{"/v1/b", 0, false},
		{"/beacon/v1/batch", 0, false},
	}
}

// scratch is the memory that one request works in.
type scratch struct {
	body []byte
	norm events.Normaliser
	evs  []events.Event
}

// keepScratch is the largest body whose memory is kept for the next request.
const keepScratch = 2 * MaxBodyBytes

func (s *Server) take() *scratch {
	if sc, ok := s.scratch.Get().(*scratch); ok {
		return sc
	}
	return new(scratch)
}

func (s *Server) give(sc *scratch) {
	if cap(sc.body) <= keepScratch {
		clear(sc.evs)
		s.scratch.Put(sc)
	}
}

// track serves one address of the tracking API.
func (s *Server) track(rt route) func(w http.ResponseWriter, r *http.Request) {
	return func(w http.ResponseWriter, r *http.Request) {
		cors(w, r)
		var key Key
		shown := presented(r)
		if shown != "" {
			var ok bool
			if key, ok = s.key(shown); !ok {
				unauthorized(w)
				return
			}
		}
		sc := s.take()
		defer s.give(sc)
		var err error
		if sc.body, err = s.readBody(r, sc.body); err != nil {
			w.Header().Set("Connection", "close")
			fail(w, http.StatusBadRequest, err.Error())
			return
		}
		bad := sc.norm.Read(sc.body, rt.kind)
		if shown == "" {
			var ok bool
			if key, ok = s.key(sc.norm.WriteKey()); !ok {
				unauthorized(w)
				return
			}
		}
		c := events.Call{
			Source: key.Name, ReceivedAt: s.opts.Now().UnixMilli(), Imported: rt.imported, Secret: key.Secret,
		}
		if bad != nil {
			s.refuseBody(w, sc, c, bad)
			return
		}
		s.accept(w, sc, c, rt.kind == 0)
	}
}

func unauthorized(w http.ResponseWriter) {
	w.Header().Set("WWW-Authenticate", `Basic realm="write key"`)
	fail(w, http.StatusUnauthorized, "the write key is missing or unknown; send it by Basic auth as the user name, as a bearer token, or as writeKey in the body")
}

// refuseBody keeps a body that cannot be read as a dead letter.
func (s *Server) refuseBody(w http.ResponseWriter, sc *scratch, c events.Call, bad error) {
	sc.evs = append(sc.evs[:0], deadLetter(c, events.Refused{Index: -1, Reason: bad.Error(), Raw: sc.body}))
	if err := s.Commit(sc.evs); err != nil {
		s.unavailable(w, err)
		return
	}
	fail(w, http.StatusBadRequest, bad.Error())
}

func deadLetter(c events.Call, r events.Refused) events.Event {
	return events.Event{
		Kind: events.KindRefused, Source: c.Source, Time: c.ReceivedAt, ReceivedAt: c.ReceivedAt,
		Raw: r.Raw, Index: r.Index, Reason: strings.ToValidUTF8(r.Reason, "\ufffd"),
	}
}

// accept holds the events of a body against the plan, makes them and the refused ones durable, and
// answers.
func (s *Server) accept(w http.ResponseWriter, sc *scratch, c events.Call, batch bool) {
	plan := s.opts.Plan()
	if plan != nil {
		c.MaxAhead = plan.MaxAhead
	}
	evs, refused := sc.norm.Finish(c)
	accepted := evs
	if plan != nil {
		accepted = evs[:0]
		for i, ev := range evs {
			if reason := plan.Apply(&ev); reason != "" {
				refused = append(refused, events.Refused{Index: sc.norm.Index(i), Reason: reason, Raw: ev.Raw})
				continue
			}
			accepted = append(accepted, ev)
		}
	}
	n := len(accepted)
	if len(refused) > 0 {
		slices.SortFunc(refused, func(a, b events.Refused) int { return a.Index - b.Index })
		sc.evs = append(sc.evs[:0], accepted...)
		for _, r := range refused {
			sc.evs = append(sc.evs, deadLetter(c, r))
		}
		accepted = sc.evs
	}
	if err := s.Commit(accepted); err != nil {
		s.unavailable(w, err)
		return
	}
	switch {
	case len(refused) == 0:
		writeJSON(w, http.StatusOK, success)
	case !batch:
		fail(w, http.StatusBadRequest, refused[0].Reason)
	default:
		writeJSON(w, batchStatus(n), batchAnswer(n, refused))
	}
}

// batchStatus is 200 if anything was accepted, since a 400 makes SDKs report all of it as lost.
func batchStatus(accepted int) int {
	if accepted == 0 {
		return http.StatusBadRequest
	}
	return http.StatusOK
}

// batchAnswer says which events of a batch were refused, and why.
func batchAnswer(accepted int, refused []events.Refused) []byte {
	answer := Answer{Success: accepted > 0, Accepted: &accepted}
	for _, r := range refused {
		answer.Refused = append(answer.Refused, RefusedEvent{r.Index, strings.ToValidUTF8(r.Reason, "\ufffd")})
	}
	return encoded(answer)
}
