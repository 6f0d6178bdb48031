//! Functions for Millstream in Zig: this file is all that is needed.
//!
//!     const millstream = @import("millstream.zig");
//!
//!     fn score(n: i64) i64 {
//!         return n *% 3 +% 1;
//!     }
//!
//!     comptime {
//!         millstream.functions(.{.{ "score", score, .{"n"} }});
//!     }
//!
//! Each function has its name in SQL, itself, and the names of its arguments; an argument that may
//! be left out is a name and its default as SQL spells it: `.{ "digits", "2" }`. After them,
//! `.{ .is_deterministic = false }` says that the same arguments do not always give the same value.
//! It is called for each row; the host calls the module once for a batch of them.
//!
//! | Zig | SQL |
//! |---|---|
//! | bool; i8 … i64; u8 … u64; f32, f64 | boolean; tinyint … bigint; unsigned; real, double |
//! | []const u8; Json; Bytea | varchar, in UTF-8; json; bytea |
//! | Date; Time, Timestamp, TimestampTz | date; time, timestamp, timestamptz |
//! | Decimal(p, s) | decimal(p, s) |
//! | []const T; a struct | array<T>; row<…> |
//! | ?T | T, which may be NULL |
//! | Table(T) as a result | any number of rows for each row |
//! | anyerror!T as a result | T; an error fails its row: see `fail` |
//!
//! A function does not see a row with an argument that is NULL, or with NULL within one, unless
//! that is a `?T`: its value is NULL then. Memory from `allocator()` lasts until the batch is done.
//!
//! A struct instead of a function is an aggregate: the state of a group of rows, whose fields have
//! defaults and are kept as bytes. They are numbers, bool, slices, `std.ArrayList`s and structs of
//! such. A later version of a module reads what an earlier one has kept: with other fields, it needs
//! a function of another name.
//!
//!     const Mean = struct {
//!         sum: f64 = 0,
//!         count: i64 = 0,
//!
//!         pub fn update(mean: *Mean, x: f64) void {
//!             mean.sum += x;
//!             mean.count += 1;
//!         }
//!
//!         /// Adds the rows of a part of the group that was computed elsewhere.
//!         pub fn merge(mean: *Mean, other: Mean) void {
//!             mean.sum += other.sum;
//!             mean.count += other.count;
//!         }
//!
//!         pub fn finish(mean: Mean) ?f64 {
//!             return if (mean.count > 0) mean.sum / @as(f64, @floatFromInt(mean.count)) else null;
//!         }
//!     };
//!
//! With `retract`, of the arguments of `update`, it takes rows back.
//!
//! `fetch` sends requests to the servers that the pipeline file grants:
//! `grants.http = "api.example.com"`.
//!
//! `pub const panic = std.debug.FullPanic(millstream.panicked);` in the module's main file brings
//! messages of panics to the pipeline's log.

const builtin = @import("builtin");
const std = @import("std");

/// The functions of the module, once.
pub fn functions(comptime list: anytype) void {
    const all = Module(list);
    const of = "millstream:udf/functions@0.1.0#";
    @export(&all.describe, .{ .name = of ++ "describe" });
    @export(&all.read, .{ .name = "cabi_post_" ++ of ++ "describe" });
    @export(&all.call, .{ .name = of ++ "call" });
    @export(&all.read, .{ .name = "cabi_post_" ++ of ++ "call" });
    @export(&realloc, .{ .name = "cabi_realloc" });
    if (builtin.os.tag == .wasi) @export(&reallocKept, .{ .name = "cabi_realloc_adapter" });
}

/// A value of a type that Zig has none for.
fn Named(comptime T: type, comptime name: []const u8) type {
    return struct {
        value: T,

        pub const sql_type = name;
    };
}

pub const Json = Named([]const u8, "json");
pub const Bytea = Named([]const u8, "bytea");
/// Days since 1970-01-01.
pub const Date = Named(i32, "date");
/// Microseconds since midnight.
pub const Time = Named(i64, "time");
/// Microseconds since 1970-01-01 00:00:00 of some zone.
pub const Timestamp = Named(i64, "timestamp");
/// Microseconds since 1970-01-01 00:00:00 UTC.
pub const TimestampTz = Named(i64, "timestamptz");

/// A number of `p` digits, `s` of them after the point, without that point.
pub fn Decimal(comptime p: u8, comptime s: u8) type {
    return Named(i128, std.fmt.comptimePrint("decimal({d}, {d})", .{ p, s }));
}

/// The rows that a table function gives for a row.
pub fn Table(comptime T: type) type {
    return struct {
        rows: std.ArrayList(T) = .empty,

        pub const Row = T;

        pub fn add(table: *@This(), row: T) void {
            table.rows.append(allocator(), row) catch @panic("out of memory");
        }
    };
}

/// Of memory that lasts until the batch is done.
pub fn allocator() std.mem.Allocator {
    return memory.allocator();
}

var memory = std.heap.ArenaAllocator.init(std.heap.wasm_allocator);

/// Fails the row with a message: `return millstream.fail("{d} is odd", .{n});`. Of other errors the
/// name is the message.
pub fn fail(comptime format: []const u8, values: anytype) error{Failed} {
    message_of_failure = std.fmt.allocPrint(allocator(), format, values) catch @panic("out of memory");
    return error.Failed;
}

var message_of_failure: []const u8 = "";

pub const Level = enum(u32) { debug, info, warn, err };

/// Writes to the pipeline's log.
pub fn log(level: Level, message: []const u8) void {
    host.log(level, message.ptr, message.len);
}

/// A value that the pipeline file has for this module.
pub fn config(name: []const u8) ?[]const u8 {
    var found: extern struct { is_some: u8, data: [*]const u8, length: usize } = undefined;
    host.config(name.ptr, name.len, &found);
    return if (found.is_some == 1) found.data[0..found.length] else null;
}

pub const Header = struct { name: []const u8, value: []const u8 };

/// What is asked of a server.
pub const Request = struct {
    method: []const u8 = "GET",
    url: []const u8,
    headers: []const Header = &.{},
    body: []const u8 = "",
};

/// What it answers, whatever its status.
pub const Response = struct { status: u16, headers: []const Header, body: []const u8 };

/// Its answer, or why there is none.
pub const Answer = union(enum) { response: Response, failure: []const u8 };

/// Sends all requests at the same time, 1,000 at most, and waits for all answers, which come in the
/// same order. Redirects are not followed. They take of the function's time: the pipeline file may
/// say `time = "30s"`. A module that does not call it does not ask for servers.
pub fn fetch(requests: []const Request) []const Answer {
    const asked = alloc([4]List, requests.len);
    for (requests, asked) |request, *lists| {
        const headers = alloc([2]List, request.headers.len);
        for (request.headers, headers) |header, *pair| {
            pair.* = .{ List.of(header.name), List.of(header.value) };
        }
        lists.* = .{
            List.of(request.method),
            List.of(request.url),
            List.of(headers),
            List.of(request.body),
        };
    }
    var answered: extern struct { data: [*]const Answered, length: usize } = undefined;
    http.fetch(List.of(asked).data, asked.len, &answered);
    const answers = alloc(Answer, answered.length);
    for (answered.data, answers) |from, *to| to.* = from.answer();
    return answers;
}

pub fn panicked(message: []const u8, _: ?usize) noreturn {
    log(.err, message);
    @trap();
}

const host = struct {
    extern "millstream:udf/host@0.1.0" fn log(level: Level, message: [*]const u8, length: usize) void;
    extern "millstream:udf/host@0.1.0" fn config(name: [*]const u8, length: usize, found: *anyopaque) void;
};

const http = struct {
    extern "millstream:udf/http@0.1.0" fn fetch(requests: ?*const anyopaque, length: usize, answers: *anyopaque) void;
};

// --- the canonical ABI of millstream:udf@0.1.0 ---

const List = extern struct {
    data: ?*const anyopaque,
    length: usize,

    fn of(items: anytype) List {
        // The address of nothing has to be in memory as well.
        return .{ .data = if (items.len > 0) items.ptr else null, .length = items.len };
    }
};
const Node = extern struct { length: u32, nulls: u32 };
const Buffer = extern struct {
    data: [*]const u8,
    length: usize,

    fn items(buffer: Buffer, comptime T: type) [*]align(1) const T {
        return @ptrCast(buffer.data);
    }

    fn bytes(buffer: Buffer) []const u8 {
        return buffer.data[0..buffer.length];
    }
};
const Argument = extern struct { name: List, sql_type: List, has_default: u8, default: List };
const Signature = extern struct {
    name: List,
    kind: u8,
    arguments: List,
    returns: List,
    sees_null: u8,
    is_deterministic: u8,
    retracts: u8,
};
const Result = extern struct {
    is_failure: u8,
    of: extern union {
        batch: extern struct { rows: u32, nodes: List, buffers: List },
        failure: extern struct { has_row: u8, row: u32, message: List },
    },
};
const Answered = extern struct {
    is_failure: u8,
    of: extern union {
        response: extern struct {
            status: u16,
            headers: extern struct { data: [*]const [2]Buffer, length: usize },
            body: Buffer,
        },
        failure: Buffer,
    },

    fn answer(answered: Answered) Answer {
        if (answered.is_failure != 0) return .{ .failure = answered.of.failure.bytes() };
        const response = answered.of.response;
        const headers = alloc(Header, response.headers.length);
        for (response.headers.data, headers) |pair, *header| {
            header.* = .{ .name = pair[0].bytes(), .value = pair[1].bytes() };
        }
        return .{ .response = .{
            .status = response.status,
            .headers = headers,
            .body = response.body.bytes(),
        } };
    }
};
const Operation = enum(u32) { evaluate, update, retract, merge, finish };

fn realloc(old: [*]u8, length: usize, alignment: usize, size: usize) callconv(.c) [*]u8 {
    // An address that is aligned is all that is asked for.
    if (size == 0) return @ptrFromInt(alignment);
    const fresh = allocator().alignedAlloc(u8, .@"16", size) catch @panic("out of memory");
    @memcpy(fresh[0..@min(length, size)], old[0..@min(length, size)]);
    return fresh.ptr;
}

/// What lies between a module and WASI keeps its state in memory that it asks for once, when it is
/// first used, and that lasts longer than the call which that happens in.
fn reallocKept(old: [*]u8, length: usize, _: usize, size: usize) callconv(.c) [*]u8 {
    const fresh = std.heap.wasm_allocator.alignedAlloc(u8, .@"16", size) catch @panic("out of memory");
    @memcpy(fresh[0..@min(length, size)], old[0..@min(length, size)]);
    return fresh.ptr;
}

/// What the host gives, and how much of it has been taken.
const Inputs = struct {
    rows: u32,
    nodes: [*]const Node,
    buffers: [*]const Buffer,

    fn buffer(inputs: *Inputs) Buffer {
        defer inputs.buffers += 1;
        return inputs.buffers[0];
    }
};

fn Module(comptime list: anytype) type {
    return struct {
        fn describe() callconv(.c) *const List {
            const records = alloc(Signature, list.len);
            inline for (list, records) |function, *record| record.* = signature(function);
            const result = &alloc(List, 1)[0];
            result.* = List.of(records);
            return result;
        }

        /// The host has read what it was given.
        fn read(_: *const anyopaque) callconv(.c) void {
            _ = memory.reset(.retain_capacity);
        }

        fn call(
            function: u32,
            operation: Operation,
            rows: u32,
            nodes: [*]const Node,
            nodes_count: usize,
            buffers: [*]const Buffer,
            buffers_count: usize,
        ) callconv(.c) *const Result {
            _ = .{ nodes_count, buffers_count };
            var inputs: Inputs = .{ .rows = rows, .nodes = nodes, .buffers = buffers };
            inline for (list, 0..) |candidate, number| {
                if (number == function) return run(candidate, operation, &inputs);
            }
            @panic("there is no function of this number");
        }
    };
}

fn alloc(comptime T: type, count: usize) []T {
    return allocator().alloc(T, count) catch @panic("out of memory");
}

// --- what is known of a function when it is compiled ---

fn isAggregate(comptime function: anytype) bool {
    return @TypeOf(function[1]) == type;
}

fn parameterTypes(comptime Function: type) []const type {
    comptime var types: []const type = &.{};
    inline for (@typeInfo(Function).@"fn".param_types) |T| types = types ++ .{T.?};
    return types;
}

/// Of an aggregate, all parameters but its state.
fn argumentTypes(comptime function: anytype) []const type {
    if (!isAggregate(function)) return parameterTypes(@TypeOf(function[1]));
    return parameterTypes(@TypeOf(function[1].update))[1..];
}

/// The type of its results, without an error.
fn Returned(comptime function: anytype) type {
    const of = if (isAggregate(function)) @TypeOf(function[1].finish) else @TypeOf(function[1]);
    const T = @typeInfo(of).@"fn".return_type.?;
    return if (@typeInfo(T) == .error_union) @typeInfo(T).error_union.payload else T;
}

fn isTable(comptime T: type) bool {
    return @typeInfo(T) == .@"struct" and @hasDecl(T, "Row");
}

fn Results(comptime function: anytype) type {
    const T = Returned(function);
    return if (isTable(T)) T.Row else T;
}

fn signature(comptime function: anytype) Signature {
    const types = comptime argumentTypes(function);
    if (types.len != function[2].len) @compileError("a name for each argument of " ++ function[0]);
    const arguments = alloc(Argument, types.len);
    comptime var sees_null = false;
    inline for (types, function[2], arguments) |T, named, *argument| {
        if (@typeInfo(T) == .optional) sees_null = true;
        const has_default = @typeInfo(@TypeOf(named)) == .@"struct";
        argument.* = .{
            .name = List.of(@as([]const u8, if (has_default) named[0] else named)),
            .sql_type = List.of(comptime sqlType(T)),
            .has_default = @intFromBool(has_default),
            .default = List.of(@as([]const u8, if (has_default) named[1] else "")),
        };
    }
    const is_aggregate = comptime isAggregate(function);
    const is_deterministic = if (function.len > 3) function[3].is_deterministic else true;
    return .{
        .name = List.of(@as([]const u8, function[0])),
        .kind = if (is_aggregate) 2 else @intFromBool(isTable(Returned(function))),
        .arguments = List.of(arguments),
        .returns = List.of(comptime sqlType(Results(function))),
        .sees_null = @intFromBool(sees_null),
        .is_deterministic = @intFromBool(is_deterministic),
        .retracts = @intFromBool(is_aggregate and @hasDecl(function[1], "retract")),
    };
}

/// What a column of a type has in it.
const Shape = enum { optional, named, boolean, number, text, array, row };

fn shape(comptime T: type) Shape {
    if (T == []const u8) return .text;
    return switch (@typeInfo(T)) {
        .optional => .optional,
        .bool => .boolean,
        .int, .float => .number,
        .pointer => |of| if (of.size == .slice) .array else @compileError(@typeName(T) ++ " has no type in SQL"),
        .@"struct" => if (@hasDecl(T, "sql_type")) .named else .row,
        else => @compileError(@typeName(T) ++ " has no type in SQL"),
    };
}

fn sqlType(comptime T: type) []const u8 {
    return switch (shape(T)) {
        .optional => sqlType(std.meta.Child(T)),
        .named => T.sql_type,
        .array => "array<" ++ sqlType(std.meta.Child(T)) ++ ">",
        .row => row: {
            comptime var names: []const u8 = "";
            inline for (comptime std.meta.fieldNames(T)) |name| {
                const comma = if (names.len > 0) ", " else "";
                names = names ++ comma ++ "\"" ++ name ++ "\" " ++ sqlType(@FieldType(T, name));
            }
            break :row "row<" ++ names ++ ">";
        },
        else => switch (T) {
            bool => "boolean",
            i8 => "tinyint",
            i16 => "smallint",
            i32 => "int",
            i64 => "bigint",
            u8 => "tinyint unsigned",
            u16 => "smallint unsigned",
            u32 => "int unsigned",
            u64 => "bigint unsigned",
            f32 => "real",
            f64 => "double",
            []const u8 => "varchar",
            else => @compileError(@typeName(T) ++ " has no type in SQL"),
        },
    };
}

// --- columns that come ---

fn bit(bits: [*]const u8, at: usize) bool {
    return bits[at / 8] >> @intCast(at % 8) & 1 == 1;
}

/// Reads the items of a column.
fn Reader(comptime T: type) type {
    return struct {
        const Self = @This();
        const kind = shape(T);
        const Fields = if (kind == .row) fields: {
            var types: []const type = &.{};
            for (std.meta.fieldNames(T)) |name| types = types ++ .{Reader(@FieldType(T, name))};
            break :fields @Tuple(types);
        } else void;
        const Within = switch (kind) {
            .optional, .array => Reader(std.meta.Child(T)),
            .named => Reader(@FieldType(T, "value")),
            .row => Fields,
            else => void,
        };

        validity: Buffer = undefined,
        values: Buffer = undefined,
        bytes: Buffer = undefined,
        within: Within = undefined,

        fn init(inputs: *Inputs) Self {
            var self: Self = .{};
            if (kind == .optional or kind == .named) {
                self.within = .init(inputs);
                return self;
            }
            inputs.nodes += 1;
            self.validity = inputs.buffer();
            if (kind != .row) self.values = inputs.buffer();
            if (kind == .text) self.bytes = inputs.buffer();
            if (kind == .array) self.within = .init(inputs);
            if (kind == .row) inline for (&self.within) |*field| {
                field.* = .init(inputs);
            };
            return self;
        }

        /// Nothing, if it is NULL, and that is no value of it.
        fn get(self: *const Self, row: usize) ?T {
            if (kind == .optional) return @as(T, self.within.get(row));
            if (kind == .named) return .{ .value = self.within.get(row) orelse return null };
            if (self.validity.length > 0 and !bit(self.validity.data, row)) return null;
            switch (kind) {
                .boolean => return bit(self.values.data, row),
                .number => return self.values.items(T)[row],
                .text => {
                    const ends = self.values.items(u32);
                    return self.bytes.data[ends[row]..ends[row + 1]];
                },
                .array => {
                    const ends = self.values.items(u32);
                    const items = alloc(std.meta.Child(T), ends[row + 1] - ends[row]);
                    for (items, ends[row]..) |*item, at| item.* = self.within.get(at) orelse return null;
                    return items;
                },
                .row => {
                    var value: T = undefined;
                    inline for (comptime std.meta.fieldNames(T), 0..) |name, index| {
                        @field(value, name) = self.within[index].get(row) orelse return null;
                    }
                    return value;
                },
                else => comptime unreachable,
            }
        }
    };
}

// --- columns that go ---

const Outputs = struct {
    nodes: std.ArrayList(Node) = .empty,
    buffers: std.ArrayList(List) = .empty,

    fn add(outputs: *Outputs, items: anytype) void {
        outputs.buffers.append(allocator(), List.of(std.mem.sliceAsBytes(items))) catch @panic("out of memory");
    }

    fn finish(outputs: *const Outputs) *const Result {
        const result = &alloc(Result, 1)[0];
        result.is_failure = 0;
        result.of = .{ .batch = .{
            .rows = outputs.nodes.items[0].length,
            .nodes = List.of(outputs.nodes.items),
            .buffers = List.of(outputs.buffers.items),
        } };
        return result;
    }
};

/// A column that is being written, item by item.
fn Writer(comptime T: type) type {
    return struct {
        const Self = @This();
        const kind = shape(T);
        const has_ends = kind == .text or kind == .array;
        const Item = if (has_ends) u32 else if (kind == .number) T else u8;
        const Fields = if (kind == .row) fields: {
            var types: []const type = &.{};
            for (std.meta.fieldNames(T)) |name| types = types ++ .{Writer(@FieldType(T, name))};
            break :fields @Tuple(types);
        } else void;
        const Within = switch (kind) {
            .optional, .array => Writer(std.meta.Child(T)),
            .named => Writer(@FieldType(T, "value")),
            .row => Fields,
            else => void,
        };

        length: u32 = 0,
        nulls: u32 = 0,
        validity: std.ArrayList(u8) = .empty,
        /// Of text and arrays, where each ends, from 0.
        values: std.ArrayList(Item) = .empty,
        bytes: std.ArrayList(u8) = .empty,
        within: Within = undefined,

        fn init(rows: usize) Self {
            var self: Self = .{};
            if (kind == .optional or kind == .named) self.within = .init(rows);
            if (kind == .array) self.within = .init(0);
            if (kind == .row) inline for (&self.within) |*field| {
                field.* = .init(rows);
            };
            if (kind == .number or has_ends) self.values.ensureTotalCapacity(allocator(), rows + 1) catch @panic("out of memory");
            if (has_ends) self.values.appendAssumeCapacity(0);
            return self;
        }

        fn append(list: anytype, item: anytype) void {
            list.append(allocator(), item) catch @panic("out of memory");
        }

        fn put(self: *Self, value: T) void {
            switch (kind) {
                .optional => return if (value) |there| self.within.put(there) else self.within.putNull(),
                .named => return self.within.put(value.value),
                .boolean => self.putBits(value),
                .number => append(&self.values, value),
                .text => {
                    self.bytes.appendSlice(allocator(), value) catch @panic("out of memory");
                    self.putEnd(self.bytes.items.len);
                },
                .array => {
                    for (value) |item| self.within.put(item);
                    self.putEnd(self.within.count());
                },
                .row => inline for (comptime std.meta.fieldNames(T), 0..) |name, index| {
                    self.within[index].put(@field(value, name));
                },
            }
            self.putValidity(true);
        }

        fn putNull(self: *Self) void {
            switch (kind) {
                .optional, .named => return self.within.putNull(),
                .boolean => self.putBits(false),
                .number => append(&self.values, 0),
                .text, .array => append(&self.values, self.values.items[self.length]),
                .row => inline for (&self.within) |*field| field.putNull(),
            }
            self.putValidity(false);
        }

        fn putBits(self: *Self, value: bool) void {
            if (self.length % 8 == 0) append(&self.values, 0);
            self.values.items[self.length / 8] |= @as(u8, @intFromBool(value)) << @intCast(self.length % 8);
        }

        inline fn putEnd(self: *Self, end: usize) void {
            if (end > std.math.maxInt(i32)) @panic("its results are longer than 2 GB");
            append(&self.values, @as(u32, @intCast(end)));
        }

        /// The bits are there from the first NULL on.
        inline fn putValidity(self: *Self, is_valid: bool) void {
            if (self.nulls > 0 or !is_valid) self.putBit(is_valid);
            self.length += 1;
        }

        noinline fn putBit(self: *Self, is_valid: bool) void {
            const at = self.length / 8;
            const missing = at + 1 - self.validity.items.len;
            self.validity.appendNTimes(allocator(), 0xff, missing) catch @panic("out of memory");
            if (!is_valid) {
                self.nulls += 1;
                self.validity.items[at] &= ~(@as(u8, 1) << @intCast(self.length % 8));
            }
        }

        fn count(self: *const Self) usize {
            return if (kind == .optional or kind == .named) self.within.count() else self.length;
        }

        fn finish(self: *const Self, outputs: *Outputs) void {
            if (kind == .optional or kind == .named) return self.within.finish(outputs);
            append(&outputs.nodes, Node{ .length = self.length, .nulls = self.nulls });
            outputs.add(self.validity.items);
            if (kind != .row) outputs.add(self.values.items);
            if (kind == .text) outputs.add(self.bytes.items);
            if (kind == .array) self.within.finish(outputs);
            if (kind == .row) inline for (&self.within) |*field| field.finish(outputs);
        }
    };
}

// --- calls ---

fn run(comptime function: anytype, operation: Operation, inputs: *Inputs) *const Result {
    if (comptime isAggregate(function)) return aggregate(function, operation, inputs);
    return evaluate(function, inputs);
}

/// What is wrong with a value, or nothing.
fn failed(row: ?usize, problem: anyerror) *const Result {
    const message = if (problem == error.Failed) message_of_failure else @errorName(problem);
    const result = &alloc(Result, 1)[0];
    result.is_failure = 1;
    result.of = .{ .failure = .{
        .has_row = @intFromBool(row != null),
        .row = @intCast(row orelse 0),
        .message = List.of(message),
    } };
    return result;
}

fn Readers(comptime function: anytype) type {
    comptime var types: []const type = &.{};
    inline for (argumentTypes(function)) |T| types = types ++ .{Reader(T)};
    return @Tuple(types);
}

fn readers(comptime function: anytype, inputs: *Inputs) Readers(function) {
    var all: Readers(function) = undefined;
    inline for (&all) |*reader| reader.* = .init(inputs);
    return all;
}

fn evaluate(comptime function: anytype, inputs: *Inputs) *const Result {
    const is_table = comptime isTable(Returned(function));
    const rows = inputs.rows;
    const columns = readers(function, inputs);
    var values: Writer(Results(function)) = .init(rows);
    var of: Writer(u32) = .init(if (is_table) rows else 0);
    next: for (0..rows) |row| {
        var arguments: std.meta.ArgsTuple(@TypeOf(function[1])) = undefined;
        inline for (&arguments, &columns) |*argument, *column| {
            argument.* = column.get(row) orelse {
                if (!is_table) values.putNull();
                continue :next;
            };
        }
        const returned = @call(.auto, function[1], arguments);
        const value = if (@typeInfo(@TypeOf(returned)) == .error_union)
            returned catch |problem| return failed(row, problem)
        else
            returned;
        if (is_table) {
            for (value.rows.items) |each| {
                of.put(@intCast(row));
                values.put(each);
            }
        } else {
            values.put(value);
        }
    }
    var outputs: Outputs = .{};
    if (is_table) of.finish(&outputs);
    values.finish(&outputs);
    return outputs.finish();
}

fn aggregate(comptime function: anytype, operation: Operation, inputs: *Inputs) *const Result {
    const State = function[1];
    const rows = inputs.rows;
    const states = alloc(State, inputs.nodes[0].length);
    const kept = Reader([]const u8).init(inputs);
    for (states, 0..) |*state, at| {
        state.* = readState(State, kept.get(at)) catch |problem| return failed(null, problem);
    }
    if (operation == .finish) return finishAll(function, states);
    const groups = Reader(u32).init(inputs);
    if (operation == .merge) {
        const others = Reader([]const u8).init(inputs);
        for (0..rows) |row| {
            const other = readState(State, others.get(row)) catch |problem| return failed(null, problem);
            const merged = states[groups.get(row).?].merge(other);
            if (@typeInfo(@TypeOf(merged)) == .error_union) merged catch |problem| return failed(null, problem);
        }
        return writeStates(State, states);
    }
    const columns = readers(function, inputs);
    next: for (0..rows) |row| {
        var arguments: std.meta.ArgsTuple(@TypeOf(State.update)) = undefined;
        arguments[0] = &states[groups.get(row).?];
        inline for (&columns, 0..) |*column, index| {
            arguments[index + 1] = column.get(row) orelse continue :next;
        }
        const done = if (operation == .update)
            @call(.auto, State.update, arguments)
        else if (@hasDecl(State, "retract"))
            @call(.auto, State.retract, arguments)
        else
            @panic("it cannot take rows back");
        if (@typeInfo(@TypeOf(done)) == .error_union) done catch |problem| return failed(row, problem);
    }
    return writeStates(State, states);
}

fn finishAll(comptime function: anytype, states: anytype) *const Result {
    var values: Writer(Results(function)) = .init(states.len);
    for (states, 0..) |*state, at| {
        const returned = state.finish();
        values.put(if (@typeInfo(@TypeOf(returned)) == .error_union)
            returned catch |problem| return failed(at, problem)
        else
            returned);
    }
    var outputs: Outputs = .{};
    values.finish(&outputs);
    return outputs.finish();
}

fn writeStates(comptime State: type, states: []const State) *const Result {
    var values: Writer([]const u8) = .init(states.len);
    var bytes: std.ArrayList(u8) = .empty;
    for (states) |state| {
        bytes.clearRetainingCapacity();
        writeKept(State, state, &bytes);
        values.put(bytes.items);
    }
    var outputs: Outputs = .{};
    values.finish(&outputs);
    return outputs.finish();
}

// --- states as bytes ---

fn isList(comptime T: type) bool {
    return @typeInfo(T) == .@"struct" and @hasField(T, "items") and @hasField(T, "capacity");
}

fn writeKept(comptime T: type, value: T, to: *std.ArrayList(u8)) void {
    if (comptime isList(T)) return writeKept(T.Slice, value.items, to);
    switch (@typeInfo(T)) {
        .bool, .int, .float => to.appendSlice(allocator(), std.mem.asBytes(&value)) catch @panic("out of memory"),
        .pointer => {
            writeKept(u32, @intCast(value.len), to);
            for (value) |item| writeKept(std.meta.Child(T), item, to);
        },
        .@"struct" => inline for (comptime std.meta.fieldNames(T)) |name| {
            writeKept(@FieldType(T, name), @field(value, name), to);
        },
        else => @compileError(@typeName(T) ++ " cannot be part of a state"),
    }
}

fn readState(comptime State: type, kept: ?[]const u8) !State {
    var rest = kept orelse return .{};
    const state = readKept(State, &rest) catch return otherVersion();
    return if (rest.len == 0) state else otherVersion();
}

fn otherVersion() error{Failed} {
    return fail("the state that was kept is of another version of this function", .{});
}

fn readKept(comptime T: type, from: *[]const u8) error{TooShort}!T {
    if (comptime isList(T)) {
        return .fromOwnedSlice(@constCast(try readKept(T.Slice, from)));
    }
    switch (@typeInfo(T)) {
        .bool => return try readKept(u8, from) == 1,
        .int, .float => {
            if (from.len < @sizeOf(T)) return error.TooShort;
            defer from.* = from.*[@sizeOf(T)..];
            return std.mem.bytesToValue(T, from.*[0..@sizeOf(T)]);
        },
        .pointer => {
            const length = try readKept(u32, from);
            // An item has a byte at least.
            if (length > from.len) return error.TooShort;
            const items = alloc(std.meta.Child(T), length);
            for (items) |*item| item.* = try readKept(std.meta.Child(T), from);
            return items;
        },
        .@"struct" => {
            var value: T = undefined;
            inline for (comptime std.meta.fieldNames(T)) |name| {
                @field(value, name) = try readKept(@FieldType(T, name), from);
            }
            return value;
        },
        else => @compileError(@typeName(T) ++ " cannot be part of a state"),
    }
}
