//! Functions that ask servers, in Zig.

const std = @import("std");
const millstream = @import("millstream.zig");

fn shown(answer: millstream.Answer) ![]const u8 {
    const response = switch (answer) {
        .failure => |reason| return std.fmt.allocPrint(millstream.allocator(), "error: {s}", .{reason}),
        .response => |response| response,
    };
    var echoed: []const u8 = "-";
    for (response.headers) |header| {
        if (std.mem.eql(u8, header.name, "x-echo")) echoed = header.value;
    }
    const parts = .{ response.status, echoed, response.body };
    return std.fmt.allocPrint(millstream.allocator(), "{d} {s} {s}", parts);
}

fn fetched(urls: []const []const u8) ![]const []const u8 {
    const requests = try millstream.allocator().alloc(millstream.Request, urls.len);
    for (urls, requests) |url, *request| request.* = .{ .url = url };
    const texts = try millstream.allocator().alloc([]const u8, urls.len);
    for (millstream.fetch(requests), texts) |answer, *text| text.* = try shown(answer);
    return texts;
}

fn posted(url: []const u8, body: []const u8) ![]const u8 {
    const answer = millstream.fetch(&.{.{
        .method = "POST",
        .url = url,
        .headers = &.{ .{ .name = "x-from", .value = "millstream" }, .{ .name = "x-two", .value = "2" } },
        .body = body,
    }})[0];
    if (answer == .failure) return millstream.fail("{s}", .{answer.failure});
    return shown(answer);
}

comptime {
    millstream.functions(.{
        .{ "fetched", fetched, .{"urls"}, .{ .is_deterministic = false } },
        .{ "posted", posted, .{ "url", "body" }, .{ .is_deterministic = false } },
    });
}

pub const panic = std.debug.FullPanic(millstream.panicked);
