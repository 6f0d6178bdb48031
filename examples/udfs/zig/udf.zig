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

comptime {
    millstream.functions(.{
        .{ "score", score, .{"n"} },
        .{ "email_domain", emailDomain, .{"email"} },
    });
}

pub const panic = std.debug.FullPanic(millstream.panicked);
