package send

import (
	"errors"
	"io"
	"net/http"

	"nudge/channels"
)

// largestCallback bounds the body of a provider's call, in bytes: a bounce may bring the whole message back.
const largestCallback = 5 << 20

// Callbacks serves the calls of providers: POST (and GET, by which some ask whether they are welcome) under
// /v1/callbacks/, each Reporter at its path (CallbackPath). What a call tells of messages that are not this workspace's
// is left out.
func (r *Receipts) Callbacks(reporters map[string]channels.Reporter) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		reporter, ok := reporters[req.URL.Path]
		if !ok {
			answer(w, http.StatusNotFound, `{"success":false,"message":"no channel of nudge.yaml has its provider call here; write /v1/callbacks/CHANNEL/ADAPTER, and nudge channels ADAPTER says whether there is anything to tell"}`)
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, largestCallback))
		if err != nil {
			answer(w, http.StatusRequestEntityTooLarge, `{"success":false,"message":"the body could not be read, or is too large"}`)
			return
		}
		reports, err := reporter.Reports(req, body)
		if err != nil {
			status := http.StatusBadRequest
			if refused, ok := errors.AsType[*channels.CallbackError](err); ok {
				status = refused.Status
			}
			r.log.Warn("a provider's call is refused", "path", req.URL.Path, "status", status, "error", err)
			http.Error(w, err.Error(), status)
			return
		}
		for _, rep := range reports {
			m, err := r.signer.Verify(rep.Signed)
			if err != nil {
				r.log.Debug("a provider tells of a message that is not ours", "path", req.URL.Path, "what", rep.What)
				continue
			}
			if err := r.record(req.Context(), m, rep); err != nil {
				r.answer(w, err) // the provider tells it again
				return
			}
		}
		answer(w, http.StatusOK, `{"success":true}`)
	})
}

// CallbackPath is where the provider of an adapter of a channel calls.
func CallbackPath(channel, adapter string) string { return "/v1/callbacks/" + channel + "/" + adapter }
