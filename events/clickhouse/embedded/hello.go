package embedded

import (
	"context"
	"fmt"
	"strings"

	chproto "github.com/ClickHouse/ch-go/proto"
	"github.com/ClickHouse/clickhouse-go/v2/lib/column"
	"github.com/ClickHouse/clickhouse-go/v2/lib/proto"
)

// isHello recognises the question with which clickhouse-go opens a connection over HTTP.
func isHello(query string) bool {
	return strings.TrimSpace(query) == "SELECT displayName(), version(), revision(), timezone()"
}

// hello answers it. The driver decodes this one answer at its own protocol revision and every
// later one at the revision that it reads here: with 0 these are plain `FORMAT Native`, which is
// what the engine writes.
func (s *server) hello(ctx context.Context, req *request, out *reply) error {
	w, err := s.pool.take(ctx, req.database, req.settings)
	if err != nil {
		return err
	}
	defer s.pool.put(w)
	var version string
	if err := w.run("SELECT version()", "TSVRaw", nil, func(b []byte) error {
		version = strings.TrimSpace(string(b))
		return nil
	}); err != nil {
		return err
	}
	var block proto.Block
	for _, c := range []struct{ name, kind string }{
		{"displayName()", "String"}, {"version()", "String"}, {"revision()", "UInt32"}, {"timezone()", "String"},
	} {
		if err := block.AddColumn(c.name, column.Type(c.kind)); err != nil {
			return fmt.Errorf("answer the driver's hello: %w", err)
		}
	}
	if err := block.Append("nudge embedded", version, uint32(0), "UTC"); err != nil {
		return fmt.Errorf("answer the driver's hello: %w", err)
	}
	var buf chproto.Buffer
	if err := block.Encode(&buf, req.revision); err != nil {
		return fmt.Errorf("answer the driver's hello: %w", err)
	}
	return out.write(buf.Buf)
}
