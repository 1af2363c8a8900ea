package apns_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nudge/channels"
	"nudge/channels/apns"
	"nudge/channels/channeltest"
	"nudge/channels/channeltest/apnsd"
	"nudge/channels/channeltest/provider"
)

// start begins a local APNs and returns a config for it.
func start(t *testing.T, c apnsd.Config) (*apnsd.Server, map[string]any) {
	t.Helper()
	server, err := apnsd.Start(c)
	require.NoError(t, err)
	t.Cleanup(server.Close)
	return server, map[string]any{
		"topic": "example.shop", "key": string(server.KeyPEM), "key_id": server.KeyID, "team_id": server.TeamID,
		"host": server.Host(), "ca": string(server.CA.PEM),
	}
}

func TestConformance(t *testing.T) {
	var cases []channeltest.Case
	add := func(status int, reason string, class channels.Class) {
		cases = append(cases, channeltest.Case{
			Name: fmt.Sprintf("%d %s", status, reason), Fault: provider.Fault{Status: status, Code: reason}, Class: class, Code: reason,
		})
	}
	// Apple's table, line by line, written down a second time: the adapter must agree.
	for _, reason := range []string{"BadCollapseId", "BadExpirationDate", "BadMessageId", "BadPriority", "DuplicateHeaders", "InvalidPushType", "MissingDeviceToken", "PayloadEmpty", "DeviceTokenNotForTopic", "SomethingNew"} {
		add(400, reason, channels.ClassMessage)
	}
	for _, reason := range []string{"BadTopic", "MissingTopic", "TopicDisallowed"} {
		add(400, reason, channels.ClassCredential)
	}
	add(400, "BadDeviceToken", channels.ClassAddress)
	add(400, "IdleTimeout", channels.ClassTemporary)
	for _, reason := range []string{"BadCertificate", "BadCertificateEnvironment", "BadEnvironmentKeyIdInToken", "ExpiredProviderToken", "Forbidden", "InvalidProviderToken", "MissingProviderToken", "UnrelatedKeyIdInToken", "SomethingNew"} {
		add(403, reason, channels.ClassCredential)
	}
	add(404, "BadPath", channels.ClassCredential)
	add(405, "MethodNotAllowed", channels.ClassCredential)
	add(410, "ExpiredToken", channels.ClassAddress)
	add(410, "Unregistered", channels.ClassAddress)
	add(410, "SomethingNew", channels.ClassAddress)
	add(413, "PayloadTooLarge", channels.ClassMessage)
	add(429, "TooManyProviderTokenUpdates", channels.ClassRateLimit)
	add(429, "TooManyRequests", channels.ClassRateLimit)
	add(500, "InternalServerError", channels.ClassTemporary)
	add(503, "ServiceUnavailable", channels.ClassTemporary)
	add(503, "Shutdown", channels.ClassTemporary)
	cases = append(cases, channeltest.Case{
		Name:  "503 with Retry-After",
		Fault: provider.Fault{Status: 503, Code: "Shutdown", Header: http.Header{"Retry-After": {"30"}}},
		Class: channels.ClassTemporary, Code: "Shutdown", After: 30 * time.Second,
	})
	channeltest.Kit{
		Spec: apns.Spec(),
		Start: func(t *testing.T, now func() time.Time) channeltest.Provider {
			server, config := start(t, apnsd.Config{Now: now})
			return channeltest.Provider{Config: config, Log: server.Log, Stop: server.Close}
		},
		Message: channeltest.Message,
		ID:      channels.UUID,
		Cases:   cases,
	}.Run(t)
}
