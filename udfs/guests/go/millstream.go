// Package millstream makes functions for Millstream of plain ones.
//
//	type Email struct{ Email string }
//
//	func emailDomain(in Email) (*string, error) {
//		_, domain, found := strings.Cut(in.Email, "@")
//		if !found {
//			return nil, nil
//		}
//		return &domain, nil
//	}
//
//	func init() { millstream.Scalar("email_domain", emailDomain) }
//
//	func main() {}
//
//	GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -ldflags="-s -w" -o email.wasm .
//
// A function takes its arguments as the fields of a struct: UserName is user_name in SQL. A field's
// tag has the default of an argument that may be left out, as SQL spells it: `default:"2"`. It is
// called for each row; the host calls the module once for a batch of them.
//
//	Go                                      SQL
//	bool; float32, float64                  boolean; real, double
//	int8 … int64; uint8 … uint64            tinyint, smallint, int, bigint; unsigned
//	string; Json; []byte                    varchar; json; bytea
//	Date; Time, Timestamp, TimestampTz      date; time, timestamp, timestamptz
//	Decimal: a field with `sql:"…"`         decimal(p, s)
//	[]T; a struct                           array<T>; row<…>
//	*T                                      T, which may be NULL
//
// A function does not see a row with an argument that is NULL, or with NULL within one, unless that
// is a pointer. An error fails its row, and so does a panic. Of a Decimal that is no field, but what
// a function gives, Returns has the type.
//
// Fetch sends requests to the servers that the pipeline file grants: grants.http = "api.example.com".
package millstream

import (
	"fmt"
	"os"
	"reflect"
	"strings"
	"unsafe"
)

// Of a line in the pipeline's log.
type Level uint32

const (
	Debug Level = iota
	Info
	Warn
	Error
)

// Log writes to the pipeline's log.
func Log(level Level, message string) {
	hostLog(level, unsafe.Pointer(unsafe.StringData(message)), uint32(len(message)))
}

// Config is a value that the pipeline file has for this module; nil, if it has none.
func Config(name string) *string {
	var found [3]uint32
	whileNotRunning(func() {
		hostConfig(unsafe.Pointer(unsafe.StringData(name)), uint32(len(name)), unsafe.Pointer(&found))
	})
	if found[0]&1 == 0 {
		return nil
	}
	value := strings.Clone(unsafe.String((*byte)(pointer(found[1])), found[2]))
	return &value
}

// Option is something to be said of a function.
type Option func(*function)

// Volatile is a function that does not always give the same value for the same arguments.
func Volatile(of *function) { of.isVolatile = true }

// Returns is the type of the Decimal that a function gives: Returns("decimal(20, 4)").
func Returns(decimal string) Option { return func(of *function) { of.decimal = decimal } }

// Scalar is a function that gives a value for each row.
func Scalar[A, R any](name string, f func(A) (R, error), options ...Option) {
	of := declare(0, name, typeOf[A](), typeOf[R](), options)
	of.call = func(_ uint32, in *input) ([]writer, error) {
		read, out := of.arguments.fieldsReader(in), of.returns.writer()
		var given, none A
		var value R
		for row := range in.rows {
			given = none
			if !read(row, unsafe.Pointer(&given)) {
				out.null()
				continue
			}
			at = row
			var err error
			if value, err = f(given); err != nil {
				return nil, failure{row, err}
			}
			out.put(unsafe.Pointer(&value))
		}
		return []writer{out}, nil
	}
}

// Table is a function that gives any number of rows for each row.
func Table[A, R any](name string, f func(A) ([]R, error), options ...Option) {
	of := declare(1, name, typeOf[A](), typeOf[R](), options)
	of.call = func(_ uint32, in *input) ([]writer, error) {
		read, rows, out := of.arguments.fieldsReader(in), unsigned.writer(), of.returns.writer()
		for row := range in.rows {
			var given A
			if !read(row, unsafe.Pointer(&given)) {
				continue
			}
			at = row
			values, err := f(given)
			if err != nil {
				return nil, failure{row, err}
			}
			for index := range values {
				row := uint32(row)
				rows.put(unsafe.Pointer(&row))
				out.put(unsafe.Pointer(&values[index]))
			}
		}
		return []writer{rows, out}, nil
	}
}

// State is the state of a group of rows, a pointer to a struct: zeros are that of a group without
// rows. It is kept as its fields, which are numbers, strings, bool, and slices, maps and structs of
// such. A later version of a module reads what an earlier one has kept: with other fields, it needs
// a function of another name. With Retract, of the same type as Update, it takes rows back.
//
//	type Mean struct{ Sum float64; Count int64 }
//
//	func (m *Mean) Update(in struct{ X float64 }) error {
//		m.Sum += in.X
//		m.Count++
//		return nil
//	}
//
//	// The rows of a part of the group that was computed elsewhere.
//	func (m *Mean) Merge(other *Mean) error {
//		m.Sum += other.Sum
//		m.Count += other.Count
//		return nil
//	}
//
//	func (m *Mean) Finish() (*float64, error) {
//		if m.Count == 0 {
//			return nil, nil
//		}
//		mean := m.Sum / float64(m.Count)
//		return &mean, nil
//	}
//
//	func init() { millstream.Aggregate[*Mean]("mean") }
type State[P, A, R any] interface {
	Update(A) error
	Merge(P) error
	Finish() (R, error)
}

// Aggregate is a function that gives a value for a group of rows.
func Aggregate[P State[P, A, R], A, R any](name string, options ...Option) {
	of := declare(2, name, typeOf[A](), typeOf[R](), options)
	of.orStop(func() { checkState(typeOf[P]()) })
	_, of.retracts = any(*new(P)).(interface{ Retract(A) error })
	of.call = func(operation uint32, in *input) ([]writer, error) {
		states, err := readStates[P](in)
		if err != nil {
			return nil, err
		}
		switch operation {
		case merge, finish:
			return mergeOrFinish[P, A, R](of, operation, states, in)
		}
		groups := unsigned.reader(in)
		read := of.arguments.fieldsReader(in)
		for row := range in.rows {
			var group uint32
			var given A
			groups(row, unsafe.Pointer(&group))
			if !read(row, unsafe.Pointer(&given)) {
				continue
			}
			state := states[group]
			at = row
			if operation == update {
				err = state.Update(given)
			} else {
				err = any(state).(interface{ Retract(A) error }).Retract(given)
			}
			if err != nil {
				return nil, failure{row, err}
			}
		}
		return writeStates(states), nil
	}
}

func mergeOrFinish[P State[P, A, R], A, R any](
	of *function, operation uint32, states []P, in *input,
) ([]writer, error) {
	if operation == merge {
		groups := unsigned.reader(in)
		others, err := readStates[P](in)
		for row := range others {
			var group uint32
			groups(row, unsafe.Pointer(&group))
			if err == nil {
				err = states[group].Merge(others[row])
			}
		}
		return writeStates(states), err
	}
	out := of.returns.writer()
	for group, state := range states {
		at = group
		value, err := state.Finish()
		if err != nil {
			return nil, failure{group, err}
		}
		out.put(unsafe.Pointer(&value))
	}
	return []writer{out}, nil
}

// --- what is known of a function ---

type function struct {
	name                 string
	kind                 uint32
	arguments            rowType
	defaults             []*string
	returns              sqlType
	decimal              string
	isVolatile, retracts bool
	call                 func(operation uint32, in *input) ([]writer, error)
}

var functions []*function

func typeOf[T any]() reflect.Type { return reflect.TypeFor[T]() }

func declare(kind uint32, name string, arguments, returns reflect.Type, options []Option) *function {
	of := &function{name: name, kind: kind}
	of.orStop(func() {
		if arguments.Kind() != reflect.Struct {
			panic("its arguments are not the fields of a struct, but " + arguments.String())
		}
		for _, option := range options {
			option(of)
		}
		of.arguments, of.returns = fieldsOf(arguments), sqlTypeOf(returns, of.decimal)
		for index := range arguments.NumField() {
			var value *string
			if text, found := arguments.Field(index).Tag.Lookup("default"); found {
				value = &text
			}
			of.defaults = append(of.defaults, value)
		}
	})
	functions = append(functions, of)
	return of
}

// Names what is wrong with a declaration, and ends: Go would tell of its goroutines instead.
func (of *function) orStop(declare func()) {
	defer func() {
		if problem := recover(); problem != nil {
			Log(Error, fmt.Sprintf("%s: %v", of.name, problem))
			os.Exit(2)
		}
	}()
	declare()
}

// Of a row that is known.
type failure struct {
	row int
	error
}

// --- the canonical ABI of millstream:udf@0.1.0 ---

//go:wasmimport millstream:udf/host@0.1.0 log
func hostLog(level Level, message unsafe.Pointer, length uint32)

//go:wasmimport millstream:udf/host@0.1.0 config
func hostConfig(name unsafe.Pointer, length uint32, found unsafe.Pointer)

// Tells Millstream's WASI for Go whether a function runs. Go's runtime asks for the time also while it
// allocates what the host gives, when a module may not call anything.
//
//go:wasmimport wasi_snapshot_preview1 millstream_running
func tellRunning(is uint32)

var running uint32

func setRunning(is uint32) {
	running = is
	tellRunning(is)
}

// Calls the host, which allocates for its answer.
func whileNotRunning(call func()) {
	before := running
	setRunning(0)
	call()
	setRunning(before)
}

const (
	evaluate = iota
	update
	retract
	merge
	finish
)

// Go's own pointers have 64 bits, and addresses in WebAssembly 32.
func pointer(address uint32) unsafe.Pointer { return unsafe.Pointer(uintptr(address)) }

func address[T any](items []T) uint32 {
	return uint32(uintptr(unsafe.Pointer(unsafe.SliceData(items))))
}

// What the host or the call that is being made holds: Go's collector must not take it.
var held []any

func hold[T any](items []T) (address_ uint32, length uint32) {
	held = append(held, items)
	return address(items), uint32(len(items))
}

func holdText(text string) (uint32, uint32) { return hold([]byte(text)) }

//go:wasmexport cabi_realloc
func realloc(old unsafe.Pointer, length, align, size uint32) unsafe.Pointer {
	if size == 0 {
		return nil
	}
	fresh := make([]byte, size)
	copy(fresh, unsafe.Slice((*byte)(old), length))
	held = append(held, fresh)
	return unsafe.Pointer(unsafe.SliceData(fresh))
}

//go:wasmexport millstream:udf/functions@0.1.0#describe
func describe() unsafe.Pointer {
	var records []uint32
	for _, of := range functions {
		name, nameLength := holdText(of.name)
		arguments, count := hold(of.argumentRecords())
		returns, returnsLength := holdText(of.returns.name())
		flags := bit(of.arguments.seesNull(), 0) | bit(!of.isVolatile, 8) | bit(of.retracts, 16)
		records = append(records, name, nameLength, of.kind, arguments, count/7, returns, returnsLength, flags)
	}
	list, _ := hold(records)
	result, _ := hold([]uint32{list, uint32(len(functions))})
	return pointer(result)
}

func (of *function) argumentRecords() (records []uint32) {
	for index, field := range of.arguments {
		name, nameLength := holdText(field.name)
		typeName, typeLength := holdText(field.of.name())
		records = append(records, name, nameLength, typeName, typeLength)
		var value, valueLength uint32
		if of.defaults[index] != nil {
			value, valueLength = holdText(*of.defaults[index])
		}
		records = append(records, bit(of.defaults[index] != nil, 0), value, valueLength)
	}
	return records
}

func bit(is bool, place int) uint32 {
	if is {
		return 1 << place
	}
	return 0
}

// The row or group that a function has been given last.
var at int

// A panic fails its row, as an error does.
func (of *function) guarded(operation uint32, in *input) (columns []writer, err error) {
	at = -1
	setRunning(1)
	defer func() {
		setRunning(0)
		if problem := recover(); problem != nil {
			err = fmt.Errorf("%v", problem)
			if at >= 0 {
				err = failure{at, err}
			}
		}
	}()
	return of.call(operation, in)
}

//go:wasmexport millstream:udf/functions@0.1.0#call
func call(
	function, operation, rows uint32, nodes unsafe.Pointer, nodesCount uint32, buffers unsafe.Pointer,
	buffersCount uint32,
) unsafe.Pointer {
	in := &input{
		rows:    int(rows),
		nodes:   unsafe.Slice((*node)(nodes), nodesCount),
		buffers: unsafe.Slice((*buffer)(buffers), buffersCount),
	}
	columns, err := functions[function].guarded(operation, in)
	var result []uint32
	if err != nil {
		var hasRow, row uint32
		if of, is := err.(failure); is {
			hasRow, row = 1, uint32(of.row)
		}
		message, length := holdText(err.Error())
		result = []uint32{1, hasRow, row, message, length, 0}
	} else {
		var out output
		for _, column := range columns {
			column.finish(&out)
		}
		nodes, nodesCount := hold(out.nodes)
		buffers, buffersCount := hold(out.buffers)
		result = []uint32{0, out.nodes[0].length, nodes, nodesCount, buffers, buffersCount}
	}
	at, _ := hold(result)
	return pointer(at)
}

// The host has read what it was given.
//
//go:wasmexport cabi_post_millstream:udf/functions@0.1.0#describe
func described(unsafe.Pointer) { release() }

//go:wasmexport cabi_post_millstream:udf/functions@0.1.0#call
func called(unsafe.Pointer) { release() }

func release() {
	clear(held)
	held = held[:0]
}

// Says which of a module's types is wrong when it is loaded.
func noType(of reflect.Type) string { return fmt.Sprintf("%v has no type in SQL", of) }
