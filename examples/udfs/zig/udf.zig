//! The functions of all the examples, in Zig.

const std = @import("std");
const millstream = @import("millstream");

fn score(n: i64) i64 {
    return n *% 3 +% 1;
}

fn emailDomain(email: []const u8) ?[]const u8 {
    const at = std.mem.findScalar(u8, email, '@') orelse return null;
    return email[at + 1 ..];
}

// --- a table: rows for each row ---

const Word = struct { word: []const u8, position: i32 };

fn words(text: []const u8) millstream.Table(Word) {
    var table: millstream.Table(Word) = .{};
    var parts = std.mem.tokenizeScalar(u8, text, ' ');
    while (parts.next()) |word| {
        table.add(.{ .word = word, .position = @intCast(table.rows.items.len + 1) });
    }
    return table;
}

// --- an aggregate: a value for a group of rows ---

const Counted = struct { n: i64, count: u64 };

/// How often each number came, in their order.
const Mode = struct {
    counts: std.ArrayList(Counted) = .empty,

    fn order(n: i64, counted: Counted) std.math.Order {
        return std.math.order(n, counted.n);
    }

    fn place(mode: *const Mode, n: i64) usize {
        return std.sort.lowerBound(Counted, mode.counts.items, n, order);
    }

    fn has(mode: *const Mode, at: usize, n: i64) bool {
        return at < mode.counts.items.len and mode.counts.items[at].n == n;
    }

    fn add(mode: *Mode, n: i64, count: u64) !void {
        const at = mode.place(n);
        if (!mode.has(at, n)) {
            try mode.counts.insert(millstream.allocator(), at, .{ .n = n, .count = 0 });
        }
        mode.counts.items[at].count += count;
    }

    pub fn update(mode: *Mode, n: i64) !void {
        try mode.add(n, 1);
    }

    pub fn retract(mode: *Mode, n: i64) !void {
        const at = mode.place(n);
        if (!mode.has(at, n)) return;
        mode.counts.items[at].count -= 1;
        if (mode.counts.items[at].count == 0) _ = mode.counts.orderedRemove(at);
    }

    pub fn merge(mode: *Mode, other: Mode) !void {
        for (other.counts.items) |counted| try mode.add(counted.n, counted.count);
    }

    /// The least of those that came most often.
    pub fn finish(mode: Mode) ?i64 {
        var most: ?Counted = null;
        for (mode.counts.items) |counted| {
            if (most == null or counted.count > most.?.count) most = counted;
        }
        return if (most) |counted| counted.n else null;
    }
};

// --- NULL, a default, what fails, what the pipeline file has ---

fn firstOf(first: ?[]const u8, second: ?[]const u8, otherwise: ?[]const u8) ?[]const u8 {
    return first orelse second orelse otherwise;
}

fn half(n: i64) !i64 {
    return if (@rem(n, 2) == 0) @divExact(n, 2) else millstream.fail("{d} is odd", .{n});
}

fn greeting() ?[]const u8 {
    millstream.log(.debug, "greets");
    return millstream.config("greeting");
}

// --- a type after the other ---

const All = struct {
    truth: ?bool,
    tiny: ?i8,
    small: ?u16,
    large: ?u64,
    real: ?f32,
    double: ?f64,
    bytes: ?millstream.Bytea,
    json: ?millstream.Json,
    date: ?millstream.Date,
    time: ?millstream.Time,
    local: ?millstream.Timestamp,
    zoned: ?millstream.TimestampTz,
    price: ?millstream.Decimal(20, 4),
    tags: ?[]const ?[]const u8,
    nested: ?[]const ?[]const ?i32,
};

/// Reads each type, and writes it as it was.
fn same(all: ?All) ?All {
    return all;
}

comptime {
    millstream.functions(.{
        .{ "score", score, .{"n"} },
        .{ "email_domain", emailDomain, .{"email"} },
        .{ "words", words, .{"text"} },
        .{ "mode", Mode, .{"n"} },
        .{ "first_of", firstOf, .{ "first", "second", .{ "otherwise", "'?'" } } },
        .{ "half", half, .{"n"} },
        .{ "greeting", greeting, .{}, .{ .is_deterministic = false } },
        .{ "same", same, .{"all"} },
    });
}

pub const panic = std.debug.FullPanic(millstream.panicked);
