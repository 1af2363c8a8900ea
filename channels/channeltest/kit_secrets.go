package channeltest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"nudge/channels"
	"nudge/channels/channeltest/provider"

	"github.com/stretchr/testify/require"
)

func (k Kit) testSecrets(t *testing.T) {
	b := k.open(t, map[string]any{"timeout": "200ms"})
	secrets := b.secrets(k.Spec)
	for name, fault := range map[string]provider.Fault{
		"echo":     {Status: 500, Echo: true},
		"echo 400": {Status: 400, Echo: true},
		"echo 403": {Status: 403, Echo: true},
		"reset":    {Reset: true},
		"garbage":  {Garbage: true},
		"hang":     {Hang: true},
	} {
		t.Run(name, func(t *testing.T) {
			b.Log.Script(func(provider.Request) provider.Fault { return k.fault(fault) })
			m := k.Message(7)
			r := b.send(t, m)[0]
			require.Error(t, r.Err)
			requireSilent(t, r.Err, append(slices.Clone(secrets), m.Address.Token, m.Address.Email, m.Address.Phone, m.Signed)...)
		})
	}
	t.Run("cancelled", func(t *testing.T) {
		b.Log.Script(func(provider.Request) provider.Fault { return provider.Fault{Hang: true} })
		ctx, cancel := context.WithCancel(t.Context())
		m := k.Message(8)
		done := make(chan []channels.Result, 1)
		go func() { done <- b.channel.Send(ctx, []channels.Message{m}) }()
		await(t, b.Log.Hung())
		cancel()
		requireSilent(t, await(t, done)[0].Err, append(slices.Clone(secrets), m.Address.Token, m.Address.Email, m.Address.Phone, m.Signed)...)
	})
	t.Run("the channel itself", func(t *testing.T) {
		// No log line that prints a config may show it either.
		requireSilent(t, fmt.Errorf("%+v", k.Spec), secrets...)
	})
}

// secrets are the values of the config's secret fields.
func (b bench) secrets(spec channels.Spec) []string {
	var secrets []string
	var walk func(value any)
	walk = func(value any) {
		switch v := value.(type) {
		case string:
			if v != "" {
				secrets = append(secrets, v)
			}
		case []any:
			for _, item := range v {
				walk(item)
			}
		case map[string]any:
			for _, item := range v {
				walk(item)
			}
		}
	}
	for _, f := range spec.Config {
		if f.Secret {
			walk(b.Config[f.Name])
		}
	}
	return secrets
}

// requireSilent checks that no form of an error, nor of anything it wraps, has a secret in it.
func requireSilent(t *testing.T, err error, secrets ...string) {
	t.Helper()
	var forms []string
	var walk func(err error)
	walk = func(err error) {
		if err == nil {
			return
		}
		forms = append(forms, err.Error(), fmt.Sprintf("%v", err), fmt.Sprintf("%+v", err), fmt.Sprintf("%#v", err), fmt.Sprintf("%s", err), fmt.Sprintf("%q", err))
		switch e := err.(type) { //nolint:errorlint // walking the tree by hand
		case interface{ Unwrap() error }:
			walk(e.Unwrap())
		case interface{ Unwrap() []error }:
			for _, inner := range e.Unwrap() {
				walk(inner)
			}
		}
	}
	walk(err)
	for _, secret := range secrets {
		if secret == "" {
			continue
		}
		for _, part := range append(strings.Split(secret, "\n"), secret) {
			if len(part) < 8 || strings.HasPrefix(part, "-----") {
				continue
			}
			for _, form := range forms {
				require.NotContains(t, form, part)
			}
		}
	}
}
