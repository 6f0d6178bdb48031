;; What Go's modules get of WASI: see go_wasi.rs.
(module
  (import "env" "memory" (memory 0))
  (import "millstream:udf/host@0.1.0" "log" (func $log (param i32 i32 i32)))

  ;; A line that has no end yet: bytes from 4096 on, where Go keeps 8,192 free for a browser's page.
  (global $length (mut i32) (i32.const 0))
  ;; Longer lines are broken, before a character.
  (global $length_max i32 (i32.const 8000))
  (global $success i32 (i32.const 0))
  (global $bad_descriptor i32 (i32.const 8))
  (global $not_there i32 (i32.const 52))

  (func $flush (param $fd i32)
    (if (global.get $length)
      (then
        ;; Standard error is of level error, and the rest info.
        (call $log
          (select (i32.const 3) (i32.const 1) (i32.eq (local.get $fd) (i32.const 2)))
          (i32.const 4096)
          (global.get $length))
        (global.set $length (i32.const 0)))))

  (func $put (param $fd i32) (param $byte i32)
    (if (i32.eq (local.get $byte) (i32.const 10))
      (then (call $flush (local.get $fd)) (return)))
    (if (i32.and
          (i32.ge_u (global.get $length) (global.get $length_max))
          (i32.ne (i32.and (local.get $byte) (i32.const 0xc0)) (i32.const 0x80)))
      (then (call $flush (local.get $fd))))
    ;; What is no UTF-8 may have no beginning of a character for long.
    (if (i32.lt_u (global.get $length) (i32.const 8192))
      (then
        (i32.store8 (i32.add (i32.const 4096) (global.get $length)) (local.get $byte))
        (global.set $length (i32.add (global.get $length) (i32.const 1))))))

  (func (export "fd_write")
    (param $fd i32) (param $iovs i32) (param $count i32) (param $written i32) (result i32)
    (local $at i32) (local $end i32) (local $total i32)
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $count)))
        (local.set $at (i32.load (local.get $iovs)))
        (local.set $end (i32.add (local.get $at) (i32.load offset=4 (local.get $iovs))))
        (local.set $total (i32.add (local.get $total) (i32.load offset=4 (local.get $iovs))))
        (block $is_read
          (loop $byte
            (br_if $is_read (i32.ge_u (local.get $at) (local.get $end)))
            (call $put (local.get $fd) (i32.load8_u (local.get $at)))
            (local.set $at (i32.add (local.get $at) (i32.const 1)))
            (br $byte)))
        (local.set $iovs (i32.add (local.get $iovs) (i32.const 8)))
        (local.set $count (i32.sub (local.get $count) (i32.const 1)))
        (br $next)))
    (i32.store (local.get $written) (local.get $total))
    (global.get $success))

  (func (export "proc_exit") (param $code i32)
    (call $flush (i32.const 2))
    unreachable)

  ;; Neither arguments nor an environment.
  (func $no_sizes (param $count i32) (param $size i32) (result i32)
    (i32.store (local.get $count) (i32.const 0))
    (i32.store (local.get $size) (i32.const 0))
    (global.get $success))
  (export "args_sizes_get" (func $no_sizes))
  (export "environ_sizes_get" (func $no_sizes))
  (func $nothing (param i32 i32) (result i32) (global.get $success))
  (export "args_get" (func $nothing))
  (export "environ_get" (func $nothing))

  ;; A clock that stands still, and numbers that are always the same, as for all who have no grant.
  ;; Go does not start where it is nothing o'clock.
  (func (export "clock_time_get")
    (param $id i32) (param $precision i64) (param $time i32) (result i32)
    (i64.store (local.get $time) (i64.const 1))
    (global.get $success))
  (func (export "random_get") (param $data i32) (param $length i32) (result i32)
    (memory.fill (local.get $data) (i32.const 0) (local.get $length))
    (global.get $success))
  (func (export "sched_yield") (result i32) (global.get $success))

  ;; There are no descriptors but those for output: no files, directories and sockets.
  (func (export "fd_close") (export "fd_datasync") (export "fd_sync")
    (param i32) (result i32)
    (global.get $bad_descriptor))
  (func (export "fd_fdstat_get") (export "fd_fdstat_set_flags") (export "fd_filestat_get")
    (export "fd_prestat_get") (export "fd_renumber") (export "fd_tell") (export "sock_shutdown")
    (param i32 i32) (result i32)
    (global.get $bad_descriptor))
  (func (export "fd_filestat_set_size")
    (param i32 i64) (result i32)
    (global.get $bad_descriptor))
  (func (export "fd_prestat_dir_name") (export "path_create_directory")
    (export "path_remove_directory") (export "path_unlink_file") (export "sock_accept")
    (param i32 i32 i32) (result i32)
    (global.get $bad_descriptor))
  (func (export "fd_allocate") (export "fd_fdstat_set_rights")
    (param i32 i64 i64) (result i32)
    (global.get $bad_descriptor))
  (func (export "fd_read")
    (param i32 i32 i32 i32) (result i32)
    (global.get $bad_descriptor))
  (func (export "fd_seek")
    (param i32 i64 i32 i32) (result i32)
    (global.get $bad_descriptor))
  (func (export "fd_advise") (export "fd_filestat_set_times")
    (param i32 i64 i64 i32) (result i32)
    (global.get $bad_descriptor))
  (func (export "path_filestat_get") (export "path_symlink") (export "sock_send")
    (param i32 i32 i32 i32 i32) (result i32)
    (global.get $bad_descriptor))
  (func (export "fd_pread") (export "fd_pwrite") (export "fd_readdir")
    (param i32 i32 i32 i64 i32) (result i32)
    (global.get $bad_descriptor))
  (func (export "path_readlink") (export "path_rename") (export "sock_recv")
    (param i32 i32 i32 i32 i32 i32) (result i32)
    (global.get $bad_descriptor))
  (func (export "path_filestat_set_times")
    (param i32 i32 i32 i32 i64 i64 i32) (result i32)
    (global.get $bad_descriptor))
  (func (export "path_link")
    (param i32 i32 i32 i32 i32 i32 i32) (result i32)
    (global.get $bad_descriptor))
  (func (export "path_open")
    (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)
    (global.get $bad_descriptor))

  ;; Nothing is there to wait for.
  (func (export "clock_res_get") (param i32 i32) (result i32) (global.get $not_there))
  (func (export "poll_oneoff") (param i32 i32 i32 i32) (result i32) (global.get $not_there))
  (func (export "proc_raise") (param i32) (result i32) (global.get $not_there)))
