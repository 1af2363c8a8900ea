package workspace

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"nudge/channels"
	"nudge/rules"
)

// signingFile holds the signing secret that is made where nudge.yaml names none.
const signingFile = "signing.key"

// minSigning is the shortest signing secret, in bytes.
const minSigning = 16

// secrets reads every secret that nudge.yaml names.
func (l *loader) secrets() {
	c, ws := &l.cfg, l.ws
	for _, ch := range c.channels {
		out := Channel{Name: ch.name, Kind: ch.kind, RateLimit: ch.rate, AfterCrash: ch.afterCrash, TrackLinks: ch.trackLinks, TrackOpens: ch.trackOpens, Title: ch.title}
		for _, a := range ch.adapters {
			adapter := Adapter{Name: a.spec.Name, Spec: a.spec, Apps: a.apps}
			if !l.o.WithoutSecrets && !l.o.WithoutSending {
				raw, err := a.spec.Resolve(a.config, channels.Sources{Env: l.o.Env, File: l.secretFile})
				l.adapterError(a, err)
				adapter.Config = raw
			}
			out.Adapters = append(out.Adapters, adapter)
		}
		ws.Channels = append(ws.Channels, out)
	}
	if l.o.WithoutSecrets {
		for _, k := range c.keys {
			ws.Keys = append(ws.Keys, Key{Name: k.name, Value: k.value.plain, Secret: k.secret})
		}
		ws.Store.DSN, ws.Queue.URL = c.dsn.plain, c.natsURL.plain
		return
	}
	values := map[string]string{}
	for _, k := range c.keys {
		v, problem := l.look(k.value)
		switch {
		case problem == "":
		case l.o.WithoutSending:
			continue // who reads a report need not have what servers sign in with
		default:
			l.noSecret(k.value, problem)
		}
		if other, ok := values[v]; ok && v != "" {
			l.add(blind(k.value.node, "workspace/duplicate-key", fmt.Sprintf("the keys %q and %q are the same", other, k.name), ""))
		}
		values[v] = k.name
		ws.Keys = append(ws.Keys, Key{Name: k.name, Value: v, Secret: k.secret})
	}
	ws.Store.DSN, ws.Queue.URL = l.secret(c.dsn), l.secret(c.natsURL)
	if !l.o.WithoutSending && !rules.HasErrors(l.findings) {
		ws.Signing = l.signing()
	}
}

func (l *loader) adapterError(a adapterConfig, err error) {
	var problems channels.Problems
	switch {
	case err == nil:
	case errors.As(err, &problems):
		for _, p := range problems {
			l.add(adapterFinding(a.node, a.spec, p))
		}
	default:
		l.add(blind(a.node, "workspace/adapter-config", err.Error(), ""))
	}
}

func (l *loader) secretFile(path string) ([]byte, error) {
	b, err := os.ReadFile(l.within(path))
	if err != nil {
		return nil, unwrapped(err)
	}
	return b, nil
}

// secret reads one; "" after a finding, and for none.
func (l *loader) secret(s secret) string {
	v, problem := l.look(s)
	if problem != "" {
		l.noSecret(s, problem)
	}
	return v
}

// noSecret is the finding that one is not there.
func (l *loader) noSecret(s secret, problem string) {
	l.add(blind(s.node, "workspace/no-secret", problem, "Set it where you run the command: nudge.yaml names secrets and holds none."))
}

// look reads a secret, or says why it cannot.
func (l *loader) look(s secret) (value, problem string) {
	switch {
	case s.env != "":
		v, ok := l.o.Env(s.env)
		if !ok || v == "" {
			return "", fmt.Sprintf("the environment variable %s is not set", s.env)
		}
		return v, ""
	case s.file != "":
		b, err := l.secretFile(s.file)
		v := strings.TrimRight(string(b), "\r\n")
		switch {
		case err != nil:
			return "", fmt.Sprintf("the file %s cannot be read: %v", s.file, err)
		case v == "":
			return "", fmt.Sprintf("the file %s is empty", s.file)
		}
		return v, ""
	default:
		return s.plain, ""
	}
}

// signing is the secret of nudge.yaml, or the one in the data folder, which is made when it is missing.
func (l *loader) signing() []byte {
	if l.cfg.signing.node != nil {
		v := l.secret(l.cfg.signing)
		if len(v) > 0 && len(v) < minSigning {
			l.add(blind(l.cfg.signing.node, "workspace/bad-secret", fmt.Sprintf("the signing secret is shorter than %d characters", minSigning), ""))
		}
		return []byte(v)
	}
	path := filepath.Join(l.within(l.cfg.data), signingFile)
	key, err := readOrMake(path)
	if err != nil {
		l.file("workspace/no-secret", ConfigFile, fmt.Sprintf("no signing secret: %v", err), "Name one under `signing`, or make the data folder writable.")
	}
	return key
}

// readOrMake reads a key file, and makes it where there is none: synced before it is used, so that
// what is signed today can be read after a power cut.
func readOrMake(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if err == nil {
		key := strings.TrimSpace(string(b))
		if len(key) < minSigning {
			return nil, fmt.Errorf("%s is cut short: remove it to have a new one made (links in messages that were sent stop working)", path)
		}
		return []byte(key), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the signing secret: %w", err)
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the data folder: %w", err)
	}
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails
	key := hex.EncodeToString(secret)
	f, err := os.CreateTemp(dir, ".signing-*") // mode 0600
	if err != nil {
		return nil, fmt.Errorf("make the signing secret: %w", err)
	}
	defer func() { _ = os.Remove(f.Name()) }() // gone after the link; nothing to do where it is not
	_, err = f.WriteString(key + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return nil, fmt.Errorf("make the signing secret: %w", err)
	}
	// Of two processes that start at once, one makes it and both read it.
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("make the signing secret: %w", err)
	}
	if d, err := os.Open(dir); err == nil {
		err = errors.Join(d.Sync(), d.Close())
		if err != nil {
			return nil, fmt.Errorf("sync the data folder: %w", err)
		}
	}
	b, err = os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the signing secret: %w", err)
	}
	return []byte(strings.TrimSpace(string(b))), nil
}
