package fcm_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nudge/channels"
	"nudge/channels/channeltest"
	"nudge/channels/channeltest/fcmd"
	"nudge/channels/channeltest/provider"
	"nudge/channels/fcm"
)

// start begins a local FCM and returns a config for it.
func start(t *testing.T, c fcmd.Config) (*fcmd.Server, map[string]any) {
	t.Helper()
	server, err := fcmd.Start(c)
	require.NoError(t, err)
	t.Cleanup(server.Close)
	return server, map[string]any{"credentials": string(server.Credentials), "endpoint": server.Endpoint(), "ca": string(server.CA.PEM)}
}

// message is one to an Android phone.
func message(i int) channels.Message {
	m := channeltest.Message(i)
	m.Address.Platform = "android"
	m.Address.Token = fmt.Sprintf("fGx%d:APA91b%s", i, channeltest.Token(i))
	return m
}

func TestConformance(t *testing.T) {
	var cases []channeltest.Case
	for _, c := range []struct {
		status int
		code   string
		class  channels.Class
	}{
		{400, "INVALID_ARGUMENT", channels.ClassMessage},
		{401, "THIRD_PARTY_AUTH_ERROR", channels.ClassCredential},
		{401, "UNAUTHENTICATED", channels.ClassCredential},
		{403, "SENDER_ID_MISMATCH", channels.ClassMessage},
		{403, "PERMISSION_DENIED", channels.ClassCredential},
		{404, "UNREGISTERED", channels.ClassAddress},
		{404, "NOT_FOUND", channels.ClassCredential},
		{429, "QUOTA_EXCEEDED", channels.ClassRateLimit},
		{429, "RESOURCE_EXHAUSTED", channels.ClassRateLimit},
		{500, "INTERNAL", channels.ClassTemporary},
		{503, "UNAVAILABLE", channels.ClassTemporary},
		{400, "UNSPECIFIED_ERROR", channels.ClassMessage},
	} {
		cases = append(cases, channeltest.Case{
			Name: fmt.Sprintf("%d %s", c.status, c.code), Fault: provider.Fault{Status: c.status, Code: c.code}, Class: c.class, Code: c.code,
		})
	}
	token := `{"error":{"code":400,"message":"Request contains an invalid argument.","status":"INVALID_ARGUMENT","details":[` +
		`{"@type":"type.googleapis.com/google.firebase.fcm.v1.FcmError","errorCode":"INVALID_ARGUMENT"},` +
		`{"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":[{"field":"message.token","description":"Invalid registration token"}]}]}}`
	cases = append(cases,
		channeltest.Case{Name: "400 about the token", Fault: provider.Fault{Status: 400, Body: []byte(token)}, Class: channels.ClassAddress, Code: "INVALID_ARGUMENT"},
		channeltest.Case{
			Name: "400 about the token, in words", Class: channels.ClassAddress,
			Fault: provider.Fault{Status: 400, Body: []byte(`{"error":{"status":"INVALID_ARGUMENT","message":"The registration token is not a valid FCM registration token"}}`)},
		},
		channeltest.Case{Name: "404 page", Fault: provider.Fault{Status: 404, Body: []byte("<html>404</html>")}, Class: channels.ClassTemporary, Code: "404"},
		channeltest.Case{Name: "502 page", Fault: provider.Fault{Status: 502, Body: []byte("<html>502</html>")}, Class: channels.ClassTemporary, Code: "502"},
		channeltest.Case{
			Name: "503 with Retry-After", Class: channels.ClassTemporary, After: 30 * time.Second,
			Fault: provider.Fault{Status: 503, Code: "UNAVAILABLE", Header: http.Header{"Retry-After": {"30"}}},
		},
	)
	channeltest.Kit{
		Spec: fcm.Spec(),
		Start: func(t *testing.T, now func() time.Time) channeltest.Provider {
			server, config := start(t, fcmd.Config{Now: now})
			return channeltest.Provider{Config: config, Log: server.Log, Stop: server.Close}
		},
		Message: message,
		ID:      channels.ShortHash,
		Cases:   cases,
	}.Run(t)
}
