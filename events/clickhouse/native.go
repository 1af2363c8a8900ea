package clickhouse

import (
	"encoding/binary"
	"math"

	"nudge/events"
)

// Columns of ClickHouse's Native format, built by appending bytes. clickhouse-go's own batches
// append a Map by reflection, element by element through `any`, which costs several times what the
// engine needs to store the row.

// column writes itself as one column of n rows.
type column interface {
	kind() string            // ClickHouse's name of the type
	prefix([]byte) []byte    // state before the data; most have none
	data([]byte) []byte      // the rows
	reset()                  // to no rows
	size() (bytes, rows int) // of the data, roughly, and the number of rows
}

// fixed is a column of numbers of one width, little endian.
type fixed struct {
	name  string
	width int
	buf   []byte
}

func (c *fixed) kind() string           { return c.name }
func (c *fixed) prefix(b []byte) []byte { return b }
func (c *fixed) data(b []byte) []byte   { return append(b, c.buf...) }
func (c *fixed) reset()                 { c.buf = c.buf[:0] }
func (c *fixed) size() (int, int)       { return len(c.buf), len(c.buf) / c.width }

func (c *fixed) u8(v uint8)   { c.buf = append(c.buf, v) }
func (c *fixed) u32(v uint32) { c.buf = binary.LittleEndian.AppendUint32(c.buf, v) }
func (c *fixed) u64(v uint64) { c.buf = binary.LittleEndian.AppendUint64(c.buf, v) }
func (c *fixed) f64(v float64) {
	c.buf = binary.LittleEndian.AppendUint64(c.buf, math.Float64bits(v))
}

func (c *fixed) bool(v bool) {
	if v {
		c.buf = append(c.buf, 1)
	} else {
		c.buf = append(c.buf, 0)
	}
}

// text is a column of strings.
type text struct {
	buf  []byte
	rows int
}

func (c *text) kind() string           { return "String" }
func (c *text) prefix(b []byte) []byte { return b }
func (c *text) data(b []byte) []byte   { return append(b, c.buf...) }
func (c *text) reset()                 { c.buf, c.rows = c.buf[:0], 0 }
func (c *text) size() (int, int)       { return len(c.buf), c.rows }

func appendText[T string | []byte](c *text, v T) {
	c.buf = append(binary.AppendUvarint(c.buf, uint64(len(v))), v...)
	c.rows++
}

// low is a column of strings of few different values: a dictionary and an index a row.
type low struct {
	index map[string]uint32
	dict  text
	keys  []uint32
}

func (c *low) kind() string { return "LowCardinality(String)" }

// prefix says that each block brings its own dictionary.
func (c *low) prefix(b []byte) []byte { return binary.LittleEndian.AppendUint64(b, 1) }

func (c *low) data(b []byte) []byte {
	if len(c.keys) == 0 {
		return b // not even the dictionary
	}
	const hasAdditionalKeys, needsUpdate = 1 << 9, 1 << 10
	width := uint64(0) // log2 of the bytes of an index
	switch n := c.dict.rows; {
	case n > math.MaxUint16:
		width = 2
	case n > math.MaxUint8:
		width = 1
	}
	b = binary.LittleEndian.AppendUint64(b, width|hasAdditionalKeys|needsUpdate)
	b = binary.LittleEndian.AppendUint64(b, uint64(c.dict.rows))
	b = append(b, c.dict.buf...)
	b = binary.LittleEndian.AppendUint64(b, uint64(len(c.keys)))
	for _, k := range c.keys {
		switch width {
		case 0:
			b = append(b, uint8(k))
		case 1:
			b = binary.LittleEndian.AppendUint16(b, uint16(k))
		default:
			b = binary.LittleEndian.AppendUint32(b, k)
		}
	}
	return b
}

func (c *low) reset() {
	clear(c.index)
	c.dict.reset()
	c.keys = c.keys[:0]
}

func (c *low) size() (int, int) { return len(c.dict.buf) + 4*len(c.keys), len(c.keys) }

func (c *low) add(v string) {
	k, ok := c.index[v]
	if !ok {
		if c.index == nil {
			c.index = map[string]uint32{}
		}
		if c.dict.rows == 0 {
			appendText(&c.dict, "") // the dictionary begins with the default value
			c.index[""] = 0
			if v == "" {
				c.keys = append(c.keys, 0)
				return
			}
		}
		k = uint32(c.dict.rows)
		c.index[v] = k
		appendText(&c.dict, v)
	}
	c.keys = append(c.keys, k)
}

// array is a column of lists; each call of end closes a row.
type array struct {
	offsets fixed
	of      column
}

func newArray(of column) *array {
	return &array{offsets: fixed{"UInt64", 8, nil}, of: of}
}

func (c *array) kind() string           { return "Array(" + c.of.kind() + ")" }
func (c *array) prefix(b []byte) []byte { return c.of.prefix(b) }
func (c *array) data(b []byte) []byte   { return c.of.data(c.offsets.data(b)) }

func (c *array) reset() {
	c.offsets.reset()
	c.of.reset()
}

func (c *array) size() (int, int) {
	bytes, _ := c.of.size()
	own, rows := c.offsets.size()
	return bytes + own, rows
}

func (c *array) end() {
	_, n := c.of.size()
	c.offsets.u64(uint64(n))
}

// properties is a Map(LowCardinality(String), …): the same bytes as an array of pairs.
type properties struct {
	offsets fixed
	keys    low
	values  column
}

func newProperties(values column) *properties {
	return &properties{offsets: fixed{"UInt64", 8, nil}, values: values}
}

func (c *properties) kind() string {
	return "Map(" + c.keys.kind() + ", " + c.values.kind() + ")"
}

func (c *properties) prefix(b []byte) []byte { return c.values.prefix(c.keys.prefix(b)) }

func (c *properties) data(b []byte) []byte {
	return c.values.data(c.keys.data(c.offsets.data(b)))
}

func (c *properties) reset() {
	c.offsets.reset()
	c.keys.reset()
	c.values.reset()
}

func (c *properties) size() (int, int) {
	keys, _ := c.keys.size()
	values, _ := c.values.size()
	own, rows := c.offsets.size()
	return keys + values + own, rows
}

func (c *properties) end() { c.offsets.u64(uint64(len(c.keys.keys))) }

func instant() *fixed                  { return &fixed{"DateTime64(3, 'UTC')", 8, nil} }
func position() *fixed                 { return &fixed{"UInt64", 8, nil} }
func (c *fixed) pos(p events.Position) { c.u64(uint64(p)) }
