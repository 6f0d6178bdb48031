//! Typed functions as generators of bindings write them, by the canonical ABI: what is given is
//! owned, and what is returned is freed after it was read. Types: `udfs/tests/modules/typed_rust.wit`.

#![allow(clippy::missing_safety_doc, reason = "the host calls them by their types")]

#[unsafe(export_name = "cabi_realloc")]
unsafe extern "C" fn realloc(old: *mut u8, length: usize, align: usize, size: usize) -> *mut u8 {
    use std::alloc::{Layout, alloc, realloc};

    if size == 0 {
        return std::ptr::without_provenance_mut(align);
    }
    let layout = |size| Layout::from_size_align(size, align).unwrap();
    match length {
        0 => unsafe { alloc(layout(size)) },
        length => unsafe { realloc(old, layout(length), size) },
    }
}

#[unsafe(export_name = "add")]
extern "C" fn add(a: i64, b: i64) -> i64 {
    a.wrapping_add(b)
}

#[repr(C)]
struct Text {
    data: *mut u8,
    length: usize,
}

impl Text {
    fn of(text: String) -> Text {
        let text = text.into_boxed_str();
        Text { length: text.len(), data: Box::into_raw(text).cast() }
    }

    unsafe fn taken(self) -> String {
        unsafe { String::from_raw_parts(self.data, self.length, self.length) }
    }
}

/// `option<string>`.
#[repr(C)]
struct OptionalText {
    is_some: u8,
    text: Text,
}

static mut RETURNED: OptionalText =
    OptionalText { is_some: 0, text: Text { data: std::ptr::null_mut(), length: 0 } };

#[unsafe(export_name = "email-domain")]
unsafe extern "C" fn email_domain(data: *mut u8, length: usize) -> *const OptionalText {
    let email = unsafe { Text { data, length }.taken() };
    let domain = email.split_once('@').map(|(_, domain)| domain.to_owned());
    let none = || Text { data: std::ptr::null_mut(), length: 0 };
    let returned = &raw mut RETURNED;
    unsafe {
        (*returned).is_some = domain.is_some().into();
        (*returned).text = domain.map_or_else(none, Text::of);
    }
    returned
}

#[unsafe(export_name = "cabi_post_email-domain")]
unsafe extern "C" fn email_domain_read(returned: *mut OptionalText) {
    unsafe {
        if (*returned).is_some == 1 {
            let Text { data, length } = (*returned).text;
            drop(Text { data, length }.taken());
        }
    }
}

#[unsafe(export_name = "shout")]
unsafe extern "C" fn shout(data: *mut u8, length: usize) -> *const Text {
    let text = unsafe { Text { data, length }.taken() };
    let returned = &raw mut RETURNED;
    unsafe {
        (*returned).text = Text::of(text.to_ascii_uppercase());
        &raw const (*returned).text
    }
}

#[unsafe(export_name = "cabi_post_shout")]
unsafe extern "C" fn shout_read(returned: *mut Text) {
    unsafe {
        let Text { data, length } = *returned;
        drop(Text { data, length }.taken());
    }
}

/// `option<s64>`.
#[repr(C)]
struct OptionalNumber {
    is_some: u8,
    number: i64,
}

#[unsafe(export_name = "doubles")]
unsafe extern "C" fn doubles(items: *mut OptionalNumber, count: usize) -> *const Text {
    let mut numbers = unsafe { Vec::from_raw_parts(items, count, count) };
    for item in &mut numbers {
        item.number = item.number.wrapping_mul(2);
    }
    let numbers = Box::into_raw(numbers.into_boxed_slice());
    let returned = &raw mut RETURNED;
    unsafe {
        (*returned).text = Text { data: numbers.cast(), length: count };
        &raw const (*returned).text
    }
}

#[unsafe(export_name = "cabi_post_doubles")]
unsafe extern "C" fn doubles_read(returned: *mut Text) {
    unsafe {
        let Text { data, length } = *returned;
        drop(Vec::from_raw_parts(data.cast::<OptionalNumber>(), length, length));
    }
}
