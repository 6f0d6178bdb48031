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
//! Each function has its name in SQL, itself, and the names of its arguments. It is called for each
//! row; the host calls the module once for a batch of them.
//!
//! | Zig | SQL |
//! |---|---|
//! | bool; i8 … i64; u8 … u64; f32, f64 | boolean; tinyint … bigint; unsigned; real, double |
//! | []const u8 | varchar, in UTF-8 |
//! | ?T | T, which may be NULL |
//! | anyerror!T as a result | T; an error fails its row, and its name is the message |
//!
//! A function does not see a row with an argument that is NULL, unless that is a `?T`: its value is
//! NULL then. Memory from `allocator()` lasts until the batch is done.
//!
//! `pub const panic = std.debug.FullPanic(millstream.panicked);` in the module's main file brings
//! messages of panics to the pipeline's log.

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
}

/// Of memory that lasts until the batch is done.
pub fn allocator() std.mem.Allocator {
    return memory.allocator();
}

var memory = std.heap.ArenaAllocator.init(std.heap.wasm_allocator);

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

pub fn panicked(message: []const u8, _: ?usize) noreturn {
    log(.err, message);
    @trap();
}

const host = struct {
    extern "millstream:udf/host@0.1.0" fn log(level: Level, message: [*]const u8, length: usize) void;
    extern "millstream:udf/host@0.1.0" fn config(name: [*]const u8, length: usize, found: *anyopaque) void;
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

fn realloc(old: [*]u8, length: usize, alignment: usize, size: usize) callconv(.c) [*]u8 {
    // An address that is aligned is all that is asked for.
    if (size == 0) return @ptrFromInt(alignment);
    const fresh = allocator().alignedAlloc(u8, .@"16", size) catch @panic("out of memory");
    @memcpy(fresh[0..@min(length, size)], old[0..@min(length, size)]);
    return fresh.ptr;
}

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
            operation: u32,
            rows: u32,
            nodes: [*]const Node,
            nodes_count: usize,
            buffers: [*]const Buffer,
            buffers_count: usize,
        ) callconv(.c) *const Result {
            _ = .{ operation, nodes, nodes_count, buffers_count };
            inline for (list, 0..) |candidate, number| {
                if (number == function) return evaluate(candidate[1], rows, buffers);
            }
            @panic("there is no function of this number");
        }
    };
}

fn alloc(comptime T: type, count: usize) []T {
    return allocator().alloc(T, count) catch @panic("out of memory");
}

fn Parameters(comptime function: anytype) type {
    return std.meta.ArgsTuple(@TypeOf(function));
}

fn Parameter(comptime Args: type, comptime index: usize) type {
    return @FieldType(Args, std.fmt.comptimePrint("{d}", .{index}));
}

fn arity(comptime Args: type) usize {
    comptime var count = 0;
    inline while (@hasField(Args, std.fmt.comptimePrint("{d}", .{count}))) count += 1;
    return count;
}

fn signature(comptime function: anytype) Signature {
    const Args = Parameters(function[1]);
    const count = comptime arity(Args);
    if (count != function[2].len) @compileError("a name for each argument of " ++ function[0]);
    const arguments = alloc(Argument, count);
    comptime var sees_null = false;
    inline for (0..count, function[2], arguments) |index, name, *argument| {
        const T = Parameter(Args, index);
        if (@typeInfo(T) == .optional) sees_null = true;
        argument.* = .{
            .name = List.of(@as([]const u8, name)),
            .sql_type = List.of(@as([]const u8, sqlType(T))),
            .has_default = 0,
            .default = .{ .data = null, .length = 0 },
        };
    }
    return .{
        .name = List.of(@as([]const u8, function[0])),
        .kind = 0,
        .arguments = List.of(arguments),
        .returns = List.of(@as([]const u8, sqlType(Returned(function[1])))),
        .sees_null = @intFromBool(sees_null),
        .is_deterministic = 1,
        .retracts = 0,
    };
}

fn Returned(comptime function: anytype) type {
    return @typeInfo(@TypeOf(function)).@"fn".return_type.?;
}

/// The type of a value that is there.
fn Value(comptime T: type) type {
    return switch (@typeInfo(T)) {
        .optional => |of| Value(of.child),
        .error_union => |of| Value(of.payload),
        else => T,
    };
}

fn sqlType(comptime T: type) []const u8 {
    return switch (Value(T)) {
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
    };
}

fn bit(bits: [*]const u8, at: usize) bool {
    return bits[at / 8] >> @intCast(at % 8) & 1 == 1;
}

/// The value of a row that is there.
fn get(comptime T: type, buffers: [*]const Buffer, row: usize) T {
    if (T == bool) return bit(buffers[1].data, row);
    if (T == []const u8) {
        const ends = buffers[1].items(u32);
        return buffers[2].data[ends[row]..ends[row + 1]];
    }
    return buffers[1].items(T)[row];
}

fn evaluate(comptime function: anytype, rows: u32, buffers: [*]const Buffer) *const Result {
    var out = Column(Value(Returned(function))).init(rows);
    const Args = Parameters(function);
    next: for (0..rows) |row| {
        var arguments: Args = undefined;
        comptime var first = 0;
        inline for (0..comptime arity(Args)) |index| {
            const validity = buffers[first];
            const is_valid = validity.length == 0 or bit(validity.data, row);
            const T = Value(Parameter(Args, index));
            if (is_valid) {
                arguments[index] = get(T, buffers + first, row);
            } else if (@typeInfo(Parameter(Args, index)) == .optional) {
                arguments[index] = null;
            } else {
                out.putNull(row);
                continue :next;
            }
            first += if (T == []const u8) 3 else 2;
        }
        const returned = @call(.auto, function, arguments);
        const value = if (@typeInfo(@TypeOf(returned)) == .error_union)
            returned catch |failed| return failure(row, @errorName(failed))
        else
            returned;
        if (@typeInfo(@TypeOf(value)) == .optional) {
            if (value) |there| out.put(row, there) else out.putNull(row);
        } else {
            out.put(row, value);
        }
    }
    return out.finish();
}

fn failure(row: usize, message: []const u8) *const Result {
    const result = &alloc(Result, 1)[0];
    result.is_failure = 1;
    result.of = .{ .failure = .{ .has_row = 1, .row = @intCast(row), .message = List.of(message) } };
    return result;
}

/// A column that is being written, row by row.
fn Column(comptime T: type) type {
    const is_text = T == []const u8;
    return struct {
        const Self = @This();
        const Item = if (is_text) u32 else if (T == bool) u8 else T;

        rows: u32,
        nulls: u32 = 0,
        validity: []u8,
        /// Of text, where each ends, from 0.
        values: []Item,
        bytes: std.ArrayList(u8) = .empty,

        fn init(rows: u32) Self {
            const bits = (rows + 7) / 8;
            const count = if (is_text) rows + 1 else if (T == bool) bits else rows;
            const self: Self = .{ .rows = rows, .validity = alloc(u8, bits), .values = alloc(Item, count) };
            @memset(self.validity, 0xff);
            @memset(self.values, 0);
            return self;
        }

        fn put(self: *Self, row: usize, value: T) void {
            if (is_text) {
                self.bytes.appendSlice(allocator(), value) catch @panic("out of memory");
                self.values[row + 1] = @intCast(self.bytes.items.len);
            } else if (T == bool) {
                self.values[row / 8] |= @as(u8, @intFromBool(value)) << @intCast(row % 8);
            } else {
                self.values[row] = value;
            }
        }

        fn putNull(self: *Self, row: usize) void {
            self.nulls += 1;
            self.validity[row / 8] &= ~(@as(u8, 1) << @intCast(row % 8));
            if (is_text) self.values[row + 1] = @intCast(self.bytes.items.len);
        }

        fn finish(self: *const Self) *const Result {
            const node = alloc(Node, 1);
            node[0] = .{ .length = self.rows, .nulls = self.nulls };
            const buffers = alloc(List, if (is_text) 3 else 2);
            buffers[0] = List.of(if (self.nulls > 0) self.validity else self.validity[0..0]);
            buffers[1] = List.of(std.mem.sliceAsBytes(self.values));
            if (is_text) buffers[2] = List.of(self.bytes.items);
            const result = &alloc(Result, 1)[0];
            result.is_failure = 0;
            result.of = .{ .batch = .{ .rows = self.rows, .nodes = List.of(node), .buffers = List.of(buffers) } };
            return result;
        }
    };
}
