//! How people would call a delay.

const millstream = @import("millstream");

/// A flight that never left has no delay.
fn punctuality(delay: ?f64, patience: f64) []const u8 {
    const minutes = delay orelse return "cancelled";
    if (minutes < 0) return "early";
    if (minutes < patience) return "on time";
    return if (minutes < 4 * patience) "late" else "very late";
}

comptime {
    millstream.functions(.{
        .{ "punctuality", punctuality, .{ "delay", .{ "patience", "15" } } },
    });
}

pub const panic = @import("std").debug.FullPanic(millstream.panicked);
