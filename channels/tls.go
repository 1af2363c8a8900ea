package channels

import (
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// RootCAs returns the system's certificate authorities and those of a PEM file (or of PEM text
// itself). ca "" is nil, which means the system's. dir resolves a relative path.
func RootCAs(ca, dir string) (*x509.CertPool, error) {
	if ca == "" {
		return nil, nil
	}
	pem := []byte(ca)
	if !strings.HasPrefix(strings.TrimSpace(ca), "-----BEGIN") {
		path := ca
		if !filepath.IsAbs(path) {
			path = filepath.Join(dir, path)
		}
		var err error
		if pem, err = os.ReadFile(path); err != nil {
			return nil, Problem{Field: "ca", Summary: "cannot be read", Suggest: err.Error()}
		}
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("loading the system's certificate authorities: %w", err)
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, Problem{Field: "ca", Summary: "holds no PEM certificate"}
	}
	return pool, nil
}
