package history

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/parquet-go/parquet-go/format"

	"nudge/events"
)

// parquetRows reads Parquet. Columns are leaves, by dotted path; lists are not read.
type parquetRows struct {
	r       *parquet.Reader //nolint:staticcheck // rows have no Go type here
	buffer  []parquet.Row
	filled  int
	at      int
	leaves  map[string]parquet.LeafColumn
	bound   []parquet.LeafColumn
	current row
	values  []parquet.Value // of the current row, by column
}

func newParquet(in io.ReaderAt, size int64) (*parquetRows, error) {
	file, err := parquet.OpenFile(in, size)
	if err != nil {
		return nil, fmt.Errorf("read the Parquet file: %w", err)
	}
	p := &parquetRows{r: parquet.NewReader(file), buffer: make([]parquet.Row, 256), leaves: map[string]parquet.LeafColumn{}}
	for _, path := range file.Schema().Columns() {
		if leaf, ok := file.Schema().Lookup(path...); ok && leaf.MaxRepetitionLevel == 0 {
			p.leaves[strings.Join(path, ".")] = leaf
		}
	}
	p.values = make([]parquet.Value, len(file.Schema().Columns()))
	p.current.cell = func(i int) cell {
		leaf := p.bound[i]
		token := parquetToken(p.values[leaf.ColumnIndex], leaf.Node.Type())
		if token == nil {
			return cell{}
		}
		return cell{json: token}
	}
	return p, nil
}

func (p *parquetRows) bind(column string) (int, error) {
	leaf, ok := p.leaves[column]
	if !ok {
		return 0, fmt.Errorf("the file has no plain column %q%s", column, nearest(column, p.leaves))
	}
	p.bound = append(p.bound, leaf)
	return len(p.bound) - 1, nil
}

func (p *parquetRows) row() *row { return &p.current }

func (p *parquetRows) next() error {
	if p.at == p.filled {
		n, err := p.r.ReadRows(p.buffer)
		if n == 0 {
			if err == nil || errors.Is(err, io.EOF) {
				return io.EOF
			}
			return fmt.Errorf("read row %d: %w", p.current.number+1, err)
		}
		p.filled, p.at = n, 0
	}
	clear(p.values)
	p.current.number++
	p.current.raw = p.current.raw[:0]
	for _, v := range p.buffer[p.at] {
		if v.RepetitionLevel() == 0 {
			p.values[v.Column()] = v
		}
		p.current.raw = append(v.AppendBytes(append(p.current.raw, byte(v.Column()))), 0)
	}
	p.at++
	return nil
}

// parquetToken is a value as JSON; nil for null and what JSON cannot hold.
func parquetToken(v parquet.Value, t parquet.Type) json.RawMessage {
	if v.IsNull() {
		return nil
	}
	var logical format.LogicalTypeValue
	if l := t.LogicalType(); l != nil {
		logical = l.Value
	}
	if d, ok := logical.(*format.DecimalType); ok {
		switch v.Kind() {
		case parquet.Int32:
			return decimal(big.NewInt(int64(v.Int32())), int(d.Scale))
		case parquet.Int64:
			return decimal(big.NewInt(v.Int64()), int(d.Scale))
		default:
			return decimal(bigEndian(v.ByteArray()), int(d.Scale))
		}
	}
	switch v.Kind() {
	case parquet.Boolean:
		return strconv.AppendBool(nil, v.Boolean())
	case parquet.Int32:
		if _, ok := logical.(*format.DateType); ok {
			return instant(time.Unix(int64(v.Int32())*86400, 0))
		}
		return strconv.AppendInt(nil, int64(v.Int32()), 10)
	case parquet.Int64:
		if stamp, ok := logical.(*format.TimestampType); ok {
			return instant(timestamp(v.Int64(), stamp.Unit.Value))
		}
		return strconv.AppendInt(nil, v.Int64(), 10)
	case parquet.Int96:
		return instant(int96(v.Int96()))
	case parquet.Float:
		return float(float64(v.Float()), 32)
	case parquet.Double:
		return float(v.Double(), 64)
	case parquet.ByteArray, parquet.FixedLenByteArray:
		return events.AppendString(nil, strings.ToValidUTF8(string(v.ByteArray()), "\ufffd"))
	default:
		return nil
	}
}

func timestamp(n int64, unit format.TimeUnitValue) time.Time {
	switch unit.(type) {
	case *format.MicroSeconds:
		return time.UnixMicro(n)
	case *format.NanoSeconds:
		return time.Unix(0, n)
	default:
		return time.UnixMilli(n)
	}
}

// int96 is the time of old Spark and Impala files: nanoseconds of the day, then the Julian day.
func int96(v deprecated.Int96) time.Time {
	const unixEpoch = 2_440_588
	nanos := int64(v[1])<<32 | int64(v[0])
	return time.Unix((int64(v[2])-unixEpoch)*86400, nanos)
}

func instant(t time.Time) json.RawMessage {
	return []byte(t.UTC().Format(`"2006-01-02T15:04:05.000Z"`))
}

func float(f float64, bits int) json.RawMessage {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return nil
	}
	return strconv.AppendFloat(nil, f, 'g', -1, bits)
}

func bigEndian(b []byte) *big.Int {
	n := new(big.Int).SetBytes(b)
	if len(b) > 0 && b[0] >= 0x80 { // two's complement
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
	}
	return n
}

func decimal(n *big.Int, scale int) json.RawMessage {
	digits := new(big.Int).Abs(n).String()
	if len(digits) <= scale {
		digits = strings.Repeat("0", scale-len(digits)+1) + digits
	}
	if scale > 0 {
		digits = digits[:len(digits)-scale] + "." + digits[len(digits)-scale:]
	}
	if n.Sign() < 0 {
		digits = "-" + digits
	}
	return []byte(digits)
}
