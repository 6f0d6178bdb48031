//! A function for Millstream. README.md says how it is built, tested and used, and millstream.zig
//! what functions can be like.

const std = @import("std");
const millstream = @import("millstream.zig");

/// The domain of an e-mail address, in lower case; NULL where there is none.
///
/// Nobody calls it for an `email` that is NULL: the answer is NULL. It would see that as a
/// `?[]const u8`. An error fails its row, and its name is the message.
fn emailDomain(email: []const u8) !?[]const u8 {
    const at = std.mem.findScalarLast(u8, email, '@') orelse return null;
    const domain = email[at + 1 ..];
    if (at == 0 or domain.len == 0) return null;
    // Memory from `allocator()` lasts until the batch is done.
    return try std.ascii.allocLowerString(millstream.allocator(), domain);
}

comptime {
    millstream.functions(.{
        .{ "email_domain", emailDomain, .{"email"} },
    });
}

pub const panic = std.debug.FullPanic(millstream.panicked);
