//! Declarations of functions, rows and states.

/// The functions of a module, once in a crate. The crate's documentation tells what can be there.
#[macro_export]
macro_rules! functions {
    ($($declarations:tt)*) => {
        // Where it is no WebAssembly, nobody calls them.
        #[allow(dead_code)]
        // In it are the names of the module's functions and types: nothing else may have one that
        // a person would choose.
        const _: () = {
            const __FUNCTIONS: &[$crate::abi::Function] =
                $crate::function_list!([] $($declarations)*);

            #[cfg_attr(target_family = "wasm", unsafe(export_name = "cabi_realloc"))]
            unsafe extern "C" fn __realloc(
                old: *mut u8,
                length: usize,
                align: usize,
                size: usize,
            ) -> *mut u8 {
                unsafe { $crate::abi::realloc(old, length, align, size) }
            }

            #[cfg_attr(
                target_family = "wasm",
                unsafe(export_name = "millstream:udf/functions@0.1.0#describe")
            )]
            extern "C" fn __describe() -> *const u8 {
                $crate::abi::describe(__FUNCTIONS)
            }

            #[cfg_attr(
                target_family = "wasm",
                unsafe(export_name = "cabi_post_millstream:udf/functions@0.1.0#describe")
            )]
            extern "C" fn __described(_: *const u8) {
                $crate::abi::read();
            }

            #[cfg_attr(
                target_family = "wasm",
                unsafe(export_name = "millstream:udf/functions@0.1.0#call")
            )]
            unsafe extern "C" fn __call(
                function: u32,
                operation: u32,
                rows: u32,
                nodes: *mut $crate::abi::Node,
                nodes_count: usize,
                buffers: *mut $crate::abi::Buffer,
                buffers_count: usize,
            ) -> *const u8 {
                let input = $crate::abi::Input { rows, nodes, nodes_count, buffers, buffers_count };
                unsafe { $crate::abi::call(__FUNCTIONS, function, operation, input) }
            }

            #[cfg_attr(
                target_family = "wasm",
                unsafe(export_name = "cabi_post_millstream:udf/functions@0.1.0#call")
            )]
            extern "C" fn __called(_: *const u8) {
                $crate::abi::read();
            }
        };
    };
}

/// Takes one declaration after the other.
#[doc(hidden)]
#[macro_export]
macro_rules! function_list {
    ([$($done:tt)*]) => { &[$($done)*] };
    ([$($done:tt)*] volatile $($rest:tt)+) => {
        $crate::function_list!([$($done)*] (false) $($rest)+)
    };
    ([$($done:tt)*] (false) $($rest:tt)+) => {
        $crate::function_list!(@ [$($done)*] false, $($rest)+)
    };
    ([$($done:tt)*] $($rest:tt)+) => {
        $crate::function_list!(@ [$($done)*] true, $($rest)+)
    };
    (@ [$($done:tt)*] $is_deterministic:literal, table $name:ident
        ($($argument:ident : $type:ty $(= $default:literal)?),* $(,)?) -> $returns:ty; $($rest:tt)*
    ) => {
        $crate::function_list!([$($done)* $crate::abi::Function {
            signature: || $crate::signature!(Table, $is_deterministic, false,
                $name ($($argument: $type $(= $default)?),*) -> $returns),
            run: |_, batch| $crate::run_table!(batch, $name ($($argument: $type),*) -> $returns),
        },] $($rest)*)
    };
    (@ [$($done:tt)*] $is_deterministic:literal, aggregate $name:ident
        ($($argument:ident : $type:ty $(= $default:literal)?),* $(,)?) -> $returns:ty
        = $state:ty, retracts; $($rest:tt)*
    ) => {
        $crate::function_list!([$($done)* $crate::abi::Function {
            signature: || $crate::signature!(Aggregate, $is_deterministic, true,
                $name ($($argument: $type $(= $default)?),*) -> $returns),
            run: |operation, batch| $crate::run_aggregate!(
                operation, batch, ($($argument: $type),*) -> $returns, $state,
                |state, row| {
                    <$state as $crate::Retract>::retract(state, row);
                    Ok(())
                }),
        },] $($rest)*)
    };
    (@ [$($done:tt)*] $is_deterministic:literal, aggregate $name:ident
        ($($argument:ident : $type:ty $(= $default:literal)?),* $(,)?) -> $returns:ty
        = $state:ty; $($rest:tt)*
    ) => {
        $crate::function_list!([$($done)* $crate::abi::Function {
            signature: || $crate::signature!(Aggregate, $is_deterministic, false,
                $name ($($argument: $type $(= $default)?),*) -> $returns),
            run: |operation, batch| $crate::run_aggregate!(
                operation, batch, ($($argument: $type),*) -> $returns, $state,
                |_: &mut $state, _| Err("it cannot take rows back".to_owned())),
        },] $($rest)*)
    };
    (@ [$($done:tt)*] $is_deterministic:literal, $name:ident
        ($($argument:ident : $type:ty $(= $default:literal)?),* $(,)?) -> $returns:ty; $($rest:tt)*
    ) => {
        $crate::function_list!([$($done)* $crate::abi::Function {
            signature: || $crate::signature!(Scalar, $is_deterministic, false,
                $name ($($argument: $type $(= $default)?),*) -> $returns),
            run: |_, batch| $crate::run_scalar!(batch, $name ($($argument: $type),*) -> $returns),
        },] $($rest)*)
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! signature {
    ($kind:ident, $is_deterministic:literal, $retracts:literal, $name:ident
        ($($argument:ident : $type:ty $(= $default:literal)?),*) -> $returns:ty
    ) => {
        $crate::abi::Signature {
            name: stringify!($name),
            kind: $crate::abi::Kind::$kind,
            arguments: vec![$($crate::abi::Argument {
                name: stringify!($argument),
                sql_type: <$type as $crate::Sql>::name(),
                default: None$(.or(Some(concat!($default))))?,
            }),*],
            returns: <$returns as $crate::Sql>::name(),
            sees_null: false $(|| <$type as $crate::Input<'_>>::IS_OPTION)*,
            is_deterministic: $is_deterministic,
            retracts: $retracts,
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! run_scalar {
    ($batch:ident, $name:ident ($($argument:ident : $type:ty),*) -> $returns:ty) => {{
        // An argument may have the name of the function.
        let function = $name;
        #[allow(unused_mut, reason = "there may be no arguments")]
        let mut inputs = $crate::Inputs::new($batch);
        $(let mut $argument = <$type as $crate::Input<'_>>::column(&mut inputs);)*
        let mut values = <<$returns as $crate::Output>::Column>::default();
        if true $(&& <$type as $crate::Input<'_>>::has_all(&$argument))* {
            $(<$type as $crate::Input<'_>>::cut(&mut $argument, $batch.rows);)*
            let results = (0..$batch.rows).map(|_row| -> $returns {
                function($(<$type as $crate::Input<'_>>::item(&$argument, _row)),*)
            });
            let put = $crate::Output::put_all(results, &mut values);
            put.map_err(|(row, message)| $crate::abi::Failure { row: Some(row as u32), message })?;
            return Ok($crate::Outputs::of(values));
        }
        for row in 0..$batch.rows {
            $(let Some($argument) = <$type as $crate::Input<'_>>::get(&$argument, row) else {
                $crate::Column::put_null(&mut values);
                continue;
            };)*
            let value: $returns = function($($argument),*);
            if let Err(message) = $crate::Output::put(value, &mut values) {
                return Err($crate::abi::Failure { row: Some(row as u32), message });
            }
        }
        Ok($crate::Outputs::of(values))
    }};
}

#[doc(hidden)]
#[macro_export]
macro_rules! run_table {
    ($batch:ident, $name:ident ($($argument:ident : $type:ty),*) -> $returns:ty) => {{
        let function = $name;
        #[allow(unused_mut, reason = "there may be no arguments")]
        let mut inputs = $crate::Inputs::new($batch);
        $(let $argument = <$type as $crate::Input<'_>>::column(&mut inputs);)*
        let mut rows = <<u32 as $crate::Output>::Column>::default();
        let mut values = <<$returns as $crate::Output>::Column>::default();
        for row in 0..$batch.rows {
            let failed = |message| $crate::abi::Failure { row: Some(row as u32), message };
            $(let Some($argument) = <$type as $crate::Input<'_>>::get(&$argument, row) else {
                continue;
            };)*
            for value in function($($argument),*) {
                let value: $returns = value;
                $crate::Output::put(value, &mut values).map_err(failed)?;
                $crate::Output::put(row as u32, &mut rows).map_err(failed)?;
            }
        }
        let mut outputs = $crate::Outputs::of(rows);
        outputs.push(values);
        Ok(outputs)
    }};
}

#[doc(hidden)]
#[macro_export]
macro_rules! run_aggregate {
    ($operation:ident, $batch:ident, ($($argument:ident : $type:ty),*) -> $returns:ty,
        $state:ty, $retract:expr
    ) => {{
        // What is declared is what it gives.
        let _: fn(&$state) -> $returns = <$state as $crate::Aggregate>::finish;
        let mut inputs = $crate::Inputs::new($batch);
        let mut states: Vec<$state> = $crate::macro_support::states(&mut inputs, $batch)?;
        match $operation {
            $crate::abi::Operation::Finish => return $crate::macro_support::finish(&states),
            $crate::abi::Operation::Merge => {
                return $crate::macro_support::merge(states, &mut inputs, $batch);
            }
            _ => {}
        }
        let groups = <u32 as $crate::Input<'_>>::column(&mut inputs);
        $(let $argument = <$type as $crate::Input<'_>>::column(&mut inputs);)*
        for row in 0..$batch.rows {
            let Some(group) = <u32 as $crate::Input<'_>>::get(&groups, row) else { continue };
            $(let Some($argument) = <$type as $crate::Input<'_>>::get(&$argument, row) else {
                continue;
            };)*
            let state = &mut states[group as usize];
            match $operation {
                $crate::abi::Operation::Retract => {
                    let retracted: Result<(), String> = $retract(state, ($($argument),*));
                    let failed = |message| $crate::abi::Failure { row: Some(row as u32), message };
                    retracted.map_err(failed)?;
                }
                _ => <$state as $crate::Aggregate>::update(state, ($($argument),*)),
            }
        }
        $crate::macro_support::save(&states)
    }};
}

/// A struct that can be an argument or a result, `row<…>` in SQL, such as of a table function with
/// several columns.
///
/// ```
/// millstream_udf::row! {
///     struct Word<'a> { word: &'a str, position: i32 }
/// }
/// ```
#[macro_export]
macro_rules! row {
    ($(#[$attribute:meta])* $visible:vis struct $name:ident<$life:lifetime> {
        $($fields:tt)*
    }) => {
        $(#[$attribute])* $visible struct $name<$life> { $($fields)* }
        $crate::row_type!([$name<$life>] [$life] [$life] $name, $($fields)*);
    };
    ($(#[$attribute:meta])* $visible:vis struct $name:ident { $($fields:tt)* }) => {
        $(#[$attribute])* $visible struct $name { $($fields)* }
        $crate::row_type!([$name] [] ['a] $name, $($fields)*);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! row_type {
    ([$row:ty] [$($life:lifetime)?] [$input:lifetime] $name:ident,
        $($(#[$attribute:meta])* $visible:vis $field:ident : $type:ty),* $(,)?
    ) => {
        const _: () = {
            use $crate::macro_support::Validity;

            impl$(<$life>)? $crate::Sql for $row {
                fn name() -> String {
                    let fields = [$(format!("\"{}\" {}", stringify!($field), <$type>::name())),*];
                    format!("row<{}>", fields.join(", "))
                }
            }

            #[derive(Default)]
            #[allow(non_camel_case_types, reason = "a type is named as its field")]
            pub struct Written<$($field),*> {
                __validity: Validity,
                $($field: $field),*
            }

            #[allow(non_camel_case_types, reason = "a type is named as its field")]
            impl<$($field: $crate::Column),*> $crate::Column for Written<$($field),*> {
                fn put_null(&mut self) {
                    self.__validity.put(false);
                    $(self.$field.put_null();)*
                }

                fn finish(self, outputs: &mut $crate::Outputs) {
                    self.__validity.finish(outputs);
                    $(self.$field.finish(outputs);)*
                }
            }

            impl$(<$life>)? $crate::Output for $row {
                type Column = Written<$(<$type as $crate::Output>::Column),*>;

                fn put(self, column: &mut Self::Column) -> Result<(), String> {
                    $($crate::Output::put(self.$field, &mut column.$field)?;)*
                    column.__validity.put(true);
                    Ok(())
                }
            }

            impl<$input> $crate::Input<$input> for $row {
                type Column =
                    ($crate::Present<$input>, $(<$type as $crate::Input<$input>>::Column,)*);

                fn column(inputs: &mut $crate::Inputs<$input>) -> Self::Column {
                    (inputs.present(), $(<$type as $crate::Input<$input>>::column(inputs),)*)
                }

                fn get(column: &Self::Column, row: usize) -> Option<Self> {
                    let (present, $($field,)*) = column;
                    present.has(row).then_some(())?;
                    Some($name { $($field: <$type as $crate::Input<$input>>::get($field, row)?,)* })
                }
            }
        };
    };
}

/// A struct that is the state of an aggregate: its fields are kept in their order.
#[macro_export]
macro_rules! state {
    ($(#[$attribute:meta])* $visible:vis struct $name:ident {
        $($(#[$about:meta])* $seen:vis $field:ident : $type:ty),* $(,)?
    }) => {
        $(#[$attribute])*
        #[derive(Default)]
        $visible struct $name { $($(#[$about])* $seen $field: $type),* }

        impl $crate::State for $name {
            fn write(&self, to: &mut Vec<u8>) {
                $($crate::State::write(&self.$field, to);)*
            }

            fn read(from: &mut &[u8]) -> Option<Self> {
                Some($name { $($field: <$type as $crate::State>::read(from)?,)* })
            }
        }
    };
}
