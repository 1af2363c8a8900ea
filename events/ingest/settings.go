package ingest

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
)

// segmentSettings answers what analytics.js 2 and Segment's mobile SDKs fetch first
// (`{cdnURL}/v1/projects/{writeKey}/settings`): no integrations but the one that sends events back
// to this server.
func (s *Server) segmentSettings(w http.ResponseWriter, r *http.Request) {
	cors(w, r)
	key, ok := s.key(r.PathValue("key"))
	if !ok {
		fail(w, http.StatusNotFound, "no source has this write key")
		return
	}
	protocol, host := s.address(r)
	type m = map[string]any
	s.document(w, m{
		"integrations": m{
			"Segment.io": m{
				"apiKey":                key.WriteKey,
				"apiHost":               host + "/v1",
				"protocol":              protocol,
				"addBundledMetadata":    true,
				"unbundledIntegrations": []string{},
				"retryQueue":            true,
				"versionSettings":       m{"version": "4.4.7", "componentTypes": []string{"browser"}},
			},
		},
		"plan":               m{"track": m{"__default": m{"enabled": true, "integrations": m{}}}},
		"edgeFunction":       m{},
		"middlewareSettings": m{},
		"enabledMiddleware":  m{},
		"metrics":            m{"sampleRate": 0},
		"remotePlugins":      []string{},
	})
}

// sourceConfig answers what RudderStack's browser and mobile SDKs fetch first
// (`{configUrl}/sourceConfig/`, the write key by Basic auth or in the query): a source without
// destinations, whose events go to the data plane that the app names.
func (s *Server) sourceConfig(w http.ResponseWriter, r *http.Request) {
	cors(w, r)
	key, ok := s.key(presented(r))
	if !ok {
		fail(w, http.StatusBadRequest, "Invalid write key") // RudderStack's own status and words
		return
	}
	type m = map[string]any
	off := m{"enabled": false}
	s.document(w, m{
		"isHosted": false,
		"source": m{
			"id":                 key.Name,
			"name":               key.Name,
			"writeKey":           key.WriteKey,
			"enabled":            true,
			"workspaceId":        "nudge",
			"sourceDefinitionId": "nudge",
			"updatedAt":          "2026-01-01T00:00:00.000Z",
			"createdAt":          "2026-01-01T00:00:00.000Z",
			"config":             m{"statsCollection": m{"errors": off, "metrics": off}},
			"destinations":       []string{},
			"connections":        []string{},
		},
		"consentManagementMetadata": m{"providers": []string{}},
	})
}

// document answers with a settings document. Caches may keep it for a while, as CDNs do.
func (s *Server) document(w http.ResponseWriter, doc map[string]any) {
	body, err := json.Marshal(doc)
	if err != nil {
		s.log.Error("settings document", "err", err)
		fail(w, http.StatusInternalServerError, "the settings could not be written")
		return
	}
	w.Header().Set("Cache-Control", "private, max-age=120")
	writeJSON(w, http.StatusOK, body)
}

// address is where the sender reaches this server.
func (s *Server) address(r *http.Request) (protocol, host string) {
	if u, err := url.Parse(s.opts.PublicURL); err == nil && u.Host != "" {
		return u.Scheme, u.Host + strings.TrimSuffix(u.Path, "/")
	}
	protocol = "http"
	if forwarded := r.Header.Get("X-Forwarded-Proto"); r.TLS != nil || strings.EqualFold(forwarded, "https") {
		protocol = "https"
	}
	return protocol, r.Host
}
