// Package millstream is what functions in Go need for text, by the canonical ABI.
//
//	//go:wasmexport email-domain
//	func emailDomain(email string) unsafe.Pointer {
//		_, domain, found := strings.Cut(email, "@")
//		return millstream.OptionalText(domain, found)
//	}
//
// with, in udf.wit,
//
//	export email-domain: func(email: string) -> option<string>;
//
// Numbers, and text as an argument, come as they are. Results of type string and option<string> are
// made by Text and OptionalText. A function that takes text and gives none begins with
// "defer millstream.Release()": without it the memory of its arguments stays.
package millstream

import "unsafe"

// Go's own pointers have 64 bits, and addresses in WebAssembly 32.
type text struct {
	data, length uint32
}

type optionalText struct {
	isSome bool
	text   text
}

// What the host reads, until the next call.
var (
	given         string
	givenText     text
	givenOptional optionalText
)

// Arguments of the call that is being made: Go's collector must not take them.
var arguments [][]byte

//go:wasmexport cabi_realloc
func realloc(old unsafe.Pointer, length, align, size uint32) unsafe.Pointer {
	if size == 0 {
		return nil
	}
	fresh := make([]byte, size)
	copy(fresh, unsafe.Slice((*byte)(old), length))
	arguments = append(arguments, fresh)
	return unsafe.Pointer(unsafe.SliceData(fresh))
}

// Release lets go of the arguments of the call that is being made.
func Release() {
	clear(arguments)
	arguments = arguments[:0]
}

func keep(value string) text {
	Release()
	given = value
	return text{uint32(uintptr(unsafe.Pointer(unsafe.StringData(value)))), uint32(len(value))}
}

// Text is a result of type string.
func Text(value string) unsafe.Pointer {
	givenText = keep(value)
	return unsafe.Pointer(&givenText)
}

// OptionalText is a result of type option<string>: NULL unless isSome.
func OptionalText(value string, isSome bool) unsafe.Pointer {
	givenOptional = optionalText{isSome, keep(value)}
	return unsafe.Pointer(&givenOptional)
}
