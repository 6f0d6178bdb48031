//! The sockets of librdkafka, where they lead through tunnels of ours.

use std::ffi::{c_char, c_int, c_void};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use rdkafka_sys::bindings::*;

use super::handle::{Callbacks, Conf};

/// Lets all connections of an instance go through the tunnels that its callbacks have.
pub fn lead_through_tunnels(conf: &Conf) {
    let conf = conf.as_ptr();
    // SAFETY: the settings live, and the signatures are the ones asked for.
    unsafe {
        rd_kafka_conf_set_socket_cb(conf, Some(on_socket));
        rd_kafka_conf_set_connect_cb(conf, Some(on_connect));
        rd_kafka_conf_set_closesocket_cb(conf, Some(on_close));
    }
}

/// # Safety
/// `opaque` is what [`super::handle::Handle::new`] gave, which lives as long as the instance.
unsafe fn callbacks<'a>(opaque: *mut c_void) -> Option<&'a Callbacks> {
    unsafe { opaque.cast::<Callbacks>().as_ref() }
}

fn failed_with(code: c_int) -> c_int {
    // SAFETY: where this thread's code of errors is; librdkafka reads it.
    unsafe { *libc::__errno_location() = code };
    -1
}

unsafe extern "C" fn on_socket(
    _domain: c_int,
    _kind: c_int,
    _protocol: c_int,
    opaque: *mut c_void,
) -> c_int {
    let callbacks = unsafe { callbacks(opaque) };
    let Some(tunnels) = callbacks.and_then(|callbacks| callbacks.tunnels.as_ref()) else {
        return failed_with(libc::EINVAL);
    };
    match tunnels.open() {
        Ok(descriptor) => descriptor,
        Err(error) => failed_with(error.raw_os_error().unwrap_or(libc::EIO)),
    }
}

/// Returns at once; 0 says that the connection is being made.
unsafe extern "C" fn on_connect(
    socket: c_int,
    address: *const libc::sockaddr,
    _length: c_int,
    name: *const c_char,
    opaque: *mut c_void,
) -> c_int {
    // SAFETY: librdkafka hands over an address and a string that live for the call.
    let (callbacks, address, name) =
        unsafe { (callbacks(opaque), socket_address(address), super::text(name)) };
    let tunnels = callbacks.and_then(|callbacks| callbacks.tunnels.as_ref());
    match (tunnels, address) {
        (Some(tunnels), Some(address)) if tunnels.connect(socket, address, &name) => 0,
        (_, None) => libc::EAFNOSUPPORT,
        _ => libc::EBADF,
    }
}

unsafe extern "C" fn on_close(socket: c_int, opaque: *mut c_void) -> c_int {
    // Before another socket can have that number.
    if let Some(tunnels) = unsafe { callbacks(opaque) }.and_then(|it| it.tunnels.as_ref()) {
        tunnels.forget(socket);
    }
    // SAFETY: librdkafka closes its own socket, once.
    unsafe { libc::close(socket) }
}

/// # Safety
/// `address` is null, or an address of the length of its family.
unsafe fn socket_address(address: *const libc::sockaddr) -> Option<SocketAddr> {
    // SAFETY: as the caller vouches; unaligned reads ask for no more than the bytes.
    unsafe {
        if address.is_null() {
            return None;
        }
        match c_int::from((&raw const (*address).sa_family).read_unaligned()) {
            libc::AF_INET => {
                let found = address.cast::<libc::sockaddr_in>().read_unaligned();
                let ip = Ipv4Addr::from(u32::from_be(found.sin_addr.s_addr));
                Some(SocketAddr::from((ip, u16::from_be(found.sin_port))))
            }
            libc::AF_INET6 => {
                let found = address.cast::<libc::sockaddr_in6>().read_unaligned();
                let ip = Ipv6Addr::from(found.sin6_addr.s6_addr);
                let port = u16::from_be(found.sin6_port);
                let scope = found.sin6_scope_id;
                Some(SocketAddrV6::new(ip, port, found.sin6_flowinfo, scope).into())
            }
            _ => None,
        }
    }
}
