package millstream

import (
	"bytes"
	"errors"
	"reflect"
	"slices"
	"unsafe"
)

// States as they are kept: the bytes of numbers, and the items of what has a length after that.

var otherVersion = errors.New("the state that was kept is of another version of this function")

var kept = sqlTypeOf(typeOf[[]byte](), "")

// Panics where a state has something that cannot be kept.
func checkState(state reflect.Type) {
	if state.Kind() != reflect.Pointer || state.Elem().Kind() != reflect.Struct {
		panic(state.String() + " is no pointer to a struct, as states are")
	}
	seen := map[reflect.Type]bool{}
	var check func(of reflect.Type)
	check = func(of reflect.Type) {
		if seen[of] {
			return
		}
		seen[of] = true
		switch of.Kind() {
		case reflect.Slice:
			check(of.Elem())
		case reflect.Map:
			check(of.Key())
			check(of.Elem())
		case reflect.Struct:
			for index := range of.NumField() {
				if field := of.Field(index); !field.IsExported() {
					panic(of.String() + ": its field " + field.Name + " is not exported")
				}
				check(of.Field(index).Type)
			}
		case reflect.Pointer, reflect.Interface, reflect.Func, reflect.Chan, reflect.Int, reflect.Uint,
			reflect.Uintptr, reflect.UnsafePointer:
			panic(of.String() + " cannot be part of a state")
		}
	}
	check(state.Elem())
}

// P is a pointer to a state.
func readStates[P any](in *input) ([]P, error) {
	states := make([]P, in.nodes[0].length)
	read := kept.reader(in)
	for at := range states {
		state := reflect.New(typeOf[P]().Elem())
		states[at] = state.Interface().(P)
		var bytes []byte
		if !read(at, unsafe.Pointer(&bytes)) {
			continue
		}
		rest, ok := load(state.Elem(), bytes)
		if !ok || len(rest) > 0 {
			return nil, otherVersion
		}
	}
	return states, nil
}

func writeStates[P any](states []P) []writer {
	out := kept.writer()
	var bytes []byte
	for _, state := range states {
		bytes = save(reflect.ValueOf(state).Elem(), bytes[:0])
		out.put(unsafe.Pointer(&bytes))
	}
	return []writer{out}
}

// The bytes of a number.
func raw(value reflect.Value) []byte {
	return unsafe.Slice((*byte)(value.Addr().UnsafePointer()), value.Type().Size())
}

func saveLength(length int, to []byte) []byte {
	size := uint32(length)
	return append(to, raw(reflect.ValueOf(&size).Elem())...)
}

func save(value reflect.Value, to []byte) []byte {
	switch value.Kind() {
	case reflect.String:
		return append(saveLength(value.Len(), to), value.String()...)
	case reflect.Slice:
		to = saveLength(value.Len(), to)
		for at := range value.Len() {
			to = save(value.Index(at), to)
		}
		return to
	case reflect.Map:
		var entries [][]byte
		key, item := reflect.New(value.Type().Key()).Elem(), reflect.New(value.Type().Elem()).Elem()
		for each := value.MapRange(); each.Next(); {
			key.Set(each.Key())
			item.Set(each.Value())
			entries = append(entries, save(item, save(key, nil)))
		}
		// The same state is always the same bytes.
		slices.SortFunc(entries, bytes.Compare)
		return append(saveLength(len(entries), to), bytes.Join(entries, nil)...)
	case reflect.Struct:
		for index := range value.NumField() {
			to = save(value.Field(index), to)
		}
		return to
	default:
		return append(to, raw(value)...)
	}
}

func loadLength(from []byte) (int, []byte, bool) {
	var size uint32
	rest, ok := load(reflect.ValueOf(&size).Elem(), from)
	return int(size), rest, ok
}

// Reads a value from the front of what was kept, and gives the rest.
func load(value reflect.Value, from []byte) ([]byte, bool) {
	switch value.Kind() {
	case reflect.String:
		length, rest, ok := loadLength(from)
		if !ok || length > len(rest) {
			return nil, false
		}
		value.SetString(string(rest[:length]))
		return rest[length:], true
	case reflect.Slice:
		length, rest, ok := loadLength(from)
		for at := 0; at < length && ok; at++ {
			item := reflect.New(value.Type().Elem()).Elem()
			rest, ok = load(item, rest)
			value.Set(reflect.Append(value, item))
		}
		return rest, ok
	case reflect.Map:
		length, rest, ok := loadLength(from)
		value.Set(reflect.MakeMap(value.Type()))
		for at := 0; at < length && ok; at++ {
			key, item := reflect.New(value.Type().Key()).Elem(), reflect.New(value.Type().Elem()).Elem()
			if rest, ok = load(key, rest); ok {
				rest, ok = load(item, rest)
			}
			value.SetMapIndex(key, item)
		}
		return rest, ok
	case reflect.Struct:
		ok := true
		for index := 0; index < value.NumField() && ok; index++ {
			from, ok = load(value.Field(index), from)
		}
		return from, ok
	default:
		size := int(value.Type().Size())
		if len(from) < size {
			return nil, false
		}
		copy(raw(value), from)
		return from[size:], true
	}
}
