package millstream

import (
	"reflect"
	"strings"
	"time"
	"unicode"
	"unsafe"
)

// Json is JSON as text.
type Json string

// Date has the days since 1970-01-01.
type Date int32

// Time has the microseconds since midnight.
type Time int64

// Timestamp has the microseconds since 1970-01-01 00:00:00 of some zone.
type Timestamp int64

// TimestampTz has the microseconds since 1970-01-01 00:00:00 UTC.
type TimestampTz int64

// Time is the same in Go's own type.
func (t TimestampTz) Time() time.Time { return time.UnixMicro(int64(t)).UTC() }

// Decimal is a number without its point, of 128 bits. The tag of its field says where the point is:
// `sql:"decimal(20, 4)"`. Of one that a function gives, Returns says it.
type Decimal struct {
	Low  uint64
	High int64
}

var names = map[reflect.Type]string{
	typeOf[bool]():        "boolean",
	typeOf[int8]():        "tinyint",
	typeOf[int16]():       "smallint",
	typeOf[int32]():       "int",
	typeOf[int64]():       "bigint",
	typeOf[uint8]():       "tinyint unsigned",
	typeOf[uint16]():      "smallint unsigned",
	typeOf[uint32]():      "int unsigned",
	typeOf[uint64]():      "bigint unsigned",
	typeOf[float32]():     "real",
	typeOf[float64]():     "double",
	typeOf[string]():      "varchar",
	typeOf[[]byte]():      "bytea",
	typeOf[Json]():        "json",
	typeOf[Date]():        "date",
	typeOf[Time]():        "time",
	typeOf[Timestamp]():   "timestamp",
	typeOf[TimestampTz](): "timestamptz",
}

// A type of SQL, and how values of it, at an address, are read from columns and written to them.
type sqlType interface {
	name() string
	// Gives what reads the value of a row. It gives false if that is NULL, and NULL is no value.
	reader(*input) func(row int, to unsafe.Pointer) bool
	writer() writer
}

// A column that is being written.
type writer interface {
	put(from unsafe.Pointer)
	null()
	finish(*output)
}

var unsigned = sqlTypeOf(typeOf[uint32](), "")

func sqlTypeOf(of reflect.Type, name string) sqlType {
	if known, found := names[of]; found {
		name = known
	}
	switch {
	case of == typeOf[Decimal]() && name == "":
		panic("a Decimal has no digits: a field has them in its tag, `sql:\"decimal(20, 4)\"`, " +
			"and what a function gives by millstream.Returns(\"decimal(20, 4)\")")
	case of == typeOf[Decimal]():
		return numberType{name, unsafe.Sizeof(Decimal{})}
	case of.Kind() == reflect.Bool && name != "":
		return boolType{}
	case (of.Kind() == reflect.String || of == typeOf[[]byte]()) && name != "":
		return textType{name, of.Kind() == reflect.String}
	case name != "" && of.Kind() != reflect.Pointer && of.Kind() != reflect.Slice:
		return numberType{name, of.Size()}
	case of.Kind() == reflect.Pointer:
		return pointerType{sqlTypeOf(of.Elem(), name), of.Elem()}
	case of.Kind() == reflect.Slice:
		return sliceType{sqlTypeOf(of.Elem(), name), of}
	case of.Kind() == reflect.Struct:
		return fieldsOf(of)
	}
	panic(noType(of))
}

// --- what comes, and what goes ---

type node struct{ length, nulls uint32 }

type buffer struct{ data, length uint32 }

func (b buffer) at(place int) unsafe.Pointer { return unsafe.Add(pointer(b.data), place) }

func (b buffer) bit(place int) bool { return *(*byte)(b.at(place / 8))>>(place%8)&1 == 1 }

func (b buffer) end(place int) int { return int(*(*uint32)(b.at(place * 4))) }

// What the host gives and nobody has taken yet.
type input struct {
	rows    int
	nodes   []node
	buffers []buffer
}

func (in *input) buffer() buffer {
	first := in.buffers[0]
	in.buffers = in.buffers[1:]
	return first
}

func (in *input) validity() validity {
	in.nodes = in.nodes[1:]
	return validity{in.buffer()}
}

type validity struct{ buffer }

func (v validity) has(row int) bool { return v.length == 0 || v.bit(row) }

type output struct {
	nodes   []node
	buffers []buffer
}

func (out *output) add(bytes []byte) {
	at, length := hold(bytes)
	out.buffers = append(out.buffers, buffer{at, length})
}

// Which items are not NULL: the bits are there from the first NULL on.
type valid struct {
	bits          []byte
	length, nulls int
}

func (v *valid) add(isValid bool) {
	if v.nulls > 0 || !isValid {
		for len(v.bits) <= v.length/8 {
			v.bits = append(v.bits, 0xff)
		}
		if !isValid {
			v.nulls++
			v.bits[v.length/8] &^= 1 << (v.length % 8)
		}
	}
	v.length++
}

func (v *valid) finish(out *output) {
	out.nodes = append(out.nodes, node{uint32(v.length), uint32(v.nulls)})
	out.add(v.bits)
}

// --- boolean ---

type boolType struct{}

func (boolType) name() string { return "boolean" }

func (boolType) reader(in *input) func(int, unsafe.Pointer) bool {
	valid, values := in.validity(), in.buffer()
	return func(row int, to unsafe.Pointer) bool {
		*(*bool)(to) = values.bit(row)
		return valid.has(row)
	}
}

func (boolType) writer() writer { return &boolWriter{} }

type boolWriter struct {
	valid
	values []byte
}

func (w *boolWriter) add(value, isValid bool) {
	if w.length%8 == 0 {
		w.values = append(w.values, 0)
	}
	w.values[w.length/8] |= byte(bit(value, w.length%8))
	w.valid.add(isValid)
}

func (w *boolWriter) put(from unsafe.Pointer) { w.add(*(*bool)(from), true) }
func (w *boolWriter) null()                   { w.add(false, false) }

func (w *boolWriter) finish(out *output) {
	w.valid.finish(out)
	out.add(w.values)
}

// --- numbers: values of one width ---

type numberType struct {
	sqlName string
	width   uintptr
}

func (t numberType) name() string { return t.sqlName }

func (t numberType) reader(in *input) func(int, unsafe.Pointer) bool {
	valid, values := in.validity(), in.buffer()
	if t.width == 8 {
		return func(row int, to unsafe.Pointer) bool {
			*(*uint64)(to) = *(*uint64)(values.at(row * 8))
			return valid.has(row)
		}
	}
	width := int(t.width)
	return func(row int, to unsafe.Pointer) bool {
		copy(unsafe.Slice((*byte)(to), width), unsafe.Slice((*byte)(values.at(row*width)), width))
		return valid.has(row)
	}
}

func (t numberType) writer() writer { return &numberWriter{width: int(t.width)} }

type numberWriter struct {
	valid
	width  int
	values []byte
}

func (w *numberWriter) put(from unsafe.Pointer) {
	w.values = append(w.values, unsafe.Slice((*byte)(from), w.width)...)
	w.add(true)
}

func (w *numberWriter) null() {
	w.values = append(w.values, make([]byte, w.width)...)
	w.add(false)
}

func (w *numberWriter) finish(out *output) {
	w.valid.finish(out)
	out.add(w.values)
}

// --- varchar, json, bytea ---

// Where each item ends, from 0.
type ends []uint32

func (e *ends) add(end int) {
	if end > 1<<31-1 {
		panic("its results are longer than 2 GB")
	}
	if len(*e) == 0 {
		*e = append(*e, 0)
	}
	*e = append(*e, uint32(end))
}

func (e ends) finish(out *output) {
	if len(e) == 0 {
		e = ends{0}
	}
	out.add(unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(e))), 4*len(e)))
}

type textType struct {
	sqlName  string
	isString bool
}

func (t textType) name() string { return t.sqlName }

func (t textType) reader(in *input) func(int, unsafe.Pointer) bool {
	valid, ends, bytes := in.validity(), in.buffer(), in.buffer()
	return func(row int, to unsafe.Pointer) bool {
		if !valid.has(row) {
			return false
		}
		begin, end := ends.end(row), ends.end(row+1)
		// The collector refuses addresses of nothing, such as the end of all bytes.
		var first *byte
		if begin < end {
			first = (*byte)(bytes.at(begin))
		}
		// The text stays where the host has put it: the collector keeps that for it.
		if t.isString {
			*(*string)(to) = unsafe.String(first, end-begin)
		} else {
			*(*[]byte)(to) = unsafe.Slice(first, end-begin)
		}
		return true
	}
}

func (t textType) writer() writer { return &textWriter{isString: t.isString} }

type textWriter struct {
	valid
	ends
	bytes    []byte
	isString bool
}

func (w *textWriter) put(from unsafe.Pointer) {
	if w.isString {
		w.bytes = append(w.bytes, *(*string)(from)...)
	} else {
		w.bytes = append(w.bytes, *(*[]byte)(from)...)
	}
	w.ends.add(len(w.bytes))
	w.valid.add(true)
}

func (w *textWriter) null() {
	w.ends.add(len(w.bytes))
	w.valid.add(false)
}

func (w *textWriter) finish(out *output) {
	w.valid.finish(out)
	w.ends.finish(out)
	out.add(w.bytes)
}

// --- *T: what may be NULL ---

type pointerType struct {
	sqlType
	of reflect.Type
}

func (t pointerType) reader(in *input) func(int, unsafe.Pointer) bool {
	read := t.sqlType.reader(in)
	return func(row int, to unsafe.Pointer) bool {
		value := reflect.New(t.of).UnsafePointer()
		if read(row, value) {
			*(*unsafe.Pointer)(to) = value
		}
		return true
	}
}

func (t pointerType) writer() writer { return pointerWriter{t.sqlType.writer()} }

type pointerWriter struct{ writer }

func (w pointerWriter) put(from unsafe.Pointer) {
	if value := *(*unsafe.Pointer)(from); value != nil {
		w.writer.put(value)
	} else {
		w.null()
	}
}

// --- []T: arrays ---

type sliceType struct {
	items sqlType
	of    reflect.Type
}

func (t sliceType) name() string { return "array<" + t.items.name() + ">" }

func (t sliceType) reader(in *input) func(int, unsafe.Pointer) bool {
	valid, ends := in.validity(), in.buffer()
	read, size := t.items.reader(in), int(t.of.Elem().Size())
	return func(row int, to unsafe.Pointer) bool {
		if !valid.has(row) {
			return false
		}
		begin, length := ends.end(row), ends.end(row+1)-ends.end(row)
		items := reflect.MakeSlice(t.of, length, length)
		reflect.NewAt(t.of, to).Elem().Set(items)
		for at := range length {
			if !read(begin+at, unsafe.Add(items.UnsafePointer(), at*size)) {
				return false
			}
		}
		return true
	}
}

func (t sliceType) writer() writer { return &sliceWriter{of: t.of, items: t.items.writer()} }

type sliceWriter struct {
	valid
	ends
	of    reflect.Type
	items writer
	count int
}

func (w *sliceWriter) put(from unsafe.Pointer) {
	items := reflect.NewAt(w.of, from).Elem()
	for at := range items.Len() {
		w.items.put(unsafe.Add(items.UnsafePointer(), at*int(w.of.Elem().Size())))
	}
	w.count += items.Len()
	w.ends.add(w.count)
	w.valid.add(true)
}

func (w *sliceWriter) null() {
	w.ends.add(w.count)
	w.valid.add(false)
}

func (w *sliceWriter) finish(out *output) {
	w.valid.finish(out)
	w.ends.finish(out)
	w.items.finish(out)
}

// --- structs: rows, and arguments ---

type field struct {
	name   string
	of     sqlType
	offset uintptr
}

type rowType []field

func fieldsOf(of reflect.Type) (fields rowType) {
	for index := range of.NumField() {
		field_ := of.Field(index)
		if !field_.IsExported() {
			panic(of.String() + ": its field " + field_.Name + " is not exported")
		}
		name := field_.Tag.Get("sql")
		fields = append(fields, field{snake(field_.Name), sqlTypeOf(field_.Type, name), field_.Offset})
	}
	return fields
}

// UserName as user_name.
func snake(name string) string {
	var snake strings.Builder
	wasLower := false
	for _, letter := range name {
		if wasLower && unicode.IsUpper(letter) {
			snake.WriteByte('_')
		}
		wasLower = unicode.IsLower(letter)
		snake.WriteRune(unicode.ToLower(letter))
	}
	return snake.String()
}

func (t rowType) name() string {
	var fields []string
	for _, field := range t {
		fields = append(fields, `"`+field.name+`" `+field.of.name())
	}
	return "row<" + strings.Join(fields, ", ") + ">"
}

func (t rowType) seesNull() bool {
	for _, field := range t {
		if _, is := field.of.(pointerType); is {
			return true
		}
	}
	return false
}

// Reads the fields of a struct that are columns of their own.
func (t rowType) fieldsReader(in *input) func(int, unsafe.Pointer) bool {
	var readers []func(int, unsafe.Pointer) bool
	for _, field := range t {
		readers = append(readers, field.of.reader(in))
	}
	return func(row int, to unsafe.Pointer) bool {
		for index, read := range readers {
			if !read(row, unsafe.Add(to, t[index].offset)) {
				return false
			}
		}
		return true
	}
}

func (t rowType) reader(in *input) func(int, unsafe.Pointer) bool {
	valid := in.validity()
	read := t.fieldsReader(in)
	return func(row int, to unsafe.Pointer) bool { return valid.has(row) && read(row, to) }
}

func (t rowType) writer() writer {
	w := &rowWriter{of: t}
	for _, field := range t {
		w.fields = append(w.fields, field.of.writer())
	}
	return w
}

type rowWriter struct {
	valid
	of     rowType
	fields []writer
}

func (w *rowWriter) put(from unsafe.Pointer) {
	for index, field := range w.fields {
		field.put(unsafe.Add(from, w.of[index].offset))
	}
	w.valid.add(true)
}

func (w *rowWriter) null() {
	for _, field := range w.fields {
		field.null()
	}
	w.valid.add(false)
}

func (w *rowWriter) finish(out *output) {
	w.valid.finish(out)
	for _, field := range w.fields {
		field.finish(out)
	}
}
