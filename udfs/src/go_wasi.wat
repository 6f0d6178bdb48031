;; What Go's modules get of WASI: see go_wasi.rs.
(module
  (import "env" "memory" (memory 0))
  (import "millstream:udf/host@0.1.0" "log" (func $log (param i32 i32 i32)))
  ;; Those who have no grant get a clock that stands still, zeros, and no variables.
  (import "wasi:clocks/wall-clock@0.2.0" "now" (func $wall_now (param i32)))
  (import "wasi:clocks/monotonic-clock@0.2.0" "now" (func $monotonic_now (result i64)))
  (import "wasi:random/random@0.2.0" "get-random-u64" (func $random_u64 (result i64)))
  (import "wasi:cli/environment@0.2.0" "get-environment" (func $get_environment (param i32)))

  ;; Go keeps 8,192 bytes free for a browser's page, from 4096 on. The first half has a line that has
  ;; no end yet, the second what WASI answers.
  (global $length (mut i32) (i32.const 0))
  ;; Longer lines are broken, before a character.
  (global $length_max i32 (i32.const 4000))
  (global $answer i32 (i32.const 8192))
  (global $list i32 (i32.const 8208))
  (global $answer_end i32 (i32.const 12288))
  (global $success i32 (i32.const 0))
  (global $bad_descriptor i32 (i32.const 8))
  (global $invalid i32 (i32.const 28))
  (global $not_there i32 (i32.const 52))
  ;; Whether a function runs: only then may the clocks be asked. Go asks them also while it allocates
  ;; what the host gives, when nothing may be called; it gets what they said last.
  (global $running (mut i32) (i32.const 0))
  ;; What they say to those who have not asked. Go does not start where it is nothing o'clock.
  (global $wall (mut i64) (i64.const 1))
  (global $monotonic (mut i64) (i64.const 1))
  ;; Nanoseconds that passed for those who waited for them.
  (global $waited (mut i64) (i64.const 0))
  ;; Where the next of the environment's texts goes; 0 while they are only measured.
  (global $texts (mut i32) (i32.const 0))
  (global $texts_size (mut i32) (i32.const 0))

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
    (if (i32.lt_u (global.get $length) (i32.const 4096))
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

  ;; No arguments.
  (func (export "args_sizes_get") (param $count i32) (param $size i32) (result i32)
    (i32.store (local.get $count) (i32.const 0))
    (i32.store (local.get $size) (i32.const 0))
    (global.get $success))
  (func (export "args_get") (param i32 i32) (result i32) (global.get $success))

  ;; The environment is a list of pairs of texts. It is asked for twice: to measure it, its texts all
  ;; go to one place; then they go where Go wants them, each with a byte behind it.
  (func (export "cabi_import_realloc")
    (param $old i32) (param $old_length i32) (param $align i32) (param $length i32) (result i32)
    (local $at i32)
    (if (i32.eq (local.get $align) (i32.const 1))
      (then
        (global.set $texts_size
          (i32.add (global.get $texts_size) (i32.add (local.get $length) (i32.const 1))))
        (local.set $at (global.get $texts))
        (if (local.get $at)
          (then
            (global.set $texts
              (i32.add (local.get $at) (i32.add (local.get $length) (i32.const 1))))
            (return (local.get $at))))))
    ;; More variables than there is room for, or longer ones.
    (if (i32.gt_u (local.get $length) (i32.sub (global.get $answer_end) (global.get $list)))
      (then unreachable))
    (global.get $list))

  (func (export "environ_sizes_get") (param $count i32) (param $size i32) (result i32)
    (global.set $texts (i32.const 0))
    (global.set $texts_size (i32.const 0))
    (call $get_environment (global.get $answer))
    (i32.store (local.get $count) (i32.load offset=4 (global.get $answer)))
    (i32.store (local.get $size) (global.get $texts_size))
    (global.get $success))

  (func (export "environ_get") (param $places i32) (param $texts i32) (result i32)
    (local $pair i32) (local $end i32)
    (global.set $texts (local.get $texts))
    (call $get_environment (global.get $answer))
    (local.set $pair (i32.load (global.get $answer)))
    (local.set $end
      (i32.add (local.get $pair)
        (i32.mul (i32.load offset=4 (global.get $answer)) (i32.const 16))))
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $pair) (local.get $end)))
        (i32.store (local.get $places) (i32.load (local.get $pair)))
        ;; NAME=VALUE, and a 0.
        (i32.store8
          (i32.add (i32.load (local.get $pair)) (i32.load offset=4 (local.get $pair)))
          (i32.const 61))
        (i32.store8
          (i32.add (i32.load offset=8 (local.get $pair)) (i32.load offset=12 (local.get $pair)))
          (i32.const 0))
        (local.set $places (i32.add (local.get $places) (i32.const 4)))
        (local.set $pair (i32.add (local.get $pair) (i32.const 16)))
        (br $next)))
    (global.get $success))

  ;; By Millstream's package for Go, around each call, and the other way around each of its own.
  (func (export "millstream_running") (param $is i32) (global.set $running (local.get $is)))

  ;; The wall's clock is number 0, and all others go on evenly.
  (func (export "clock_time_get")
    (param $id i32) (param $precision i64) (param $time i32) (result i32)
    (if (local.get $id)
      (then (i64.store (local.get $time) (call $monotonic_time)))
      (else
        (if (global.get $running)
          (then
            (call $wall_now (global.get $answer))
            (global.set $wall
              (i64.add
                (i64.mul (i64.load (global.get $answer)) (i64.const 1000000000))
                (i64.extend_i32_u (i32.load offset=8 (global.get $answer)))))))
        (i64.store (local.get $time) (global.get $wall))))
    (global.get $success))

  (func $monotonic_time (result i64)
    (if (global.get $running) (then (global.set $monotonic (call $monotonic_now))))
    (i64.add (global.get $monotonic) (global.get $waited)))

  (func (export "random_get") (param $data i32) (param $length i32) (result i32)
    (local $end i32)
    (local.set $end (i32.add (local.get $data) (local.get $length)))
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $data) (local.get $end)))
        (i64.store (global.get $answer) (call $random_u64))
        (memory.copy
          (local.get $data)
          (global.get $answer)
          (select (i32.const 8) (i32.sub (local.get $end) (local.get $data))
            (i32.gt_u (i32.sub (local.get $end) (local.get $data)) (i32.const 8))))
        (local.set $data (i32.add (local.get $data) (i32.const 8)))
        (br $next)))
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

  ;; Whoever waits goes on at once, and takes it that the time has passed: all that is waited for has
  ;; come, as Go's scheduler and its end by a panic need it. Of clocks, the longest wait counts.
  (func (export "poll_oneoff")
    (param $asked i32) (param $events i32) (param $count i32) (param $told i32) (result i32)
    (local $end i32) (local $until i64) (local $longest i64)
    (if (i32.eqz (local.get $count)) (then (return (global.get $invalid))))
    (i32.store (local.get $told) (local.get $count))
    (local.set $end
      (i32.add (local.get $asked) (i32.mul (local.get $count) (i32.const 48))))
    (loop $next
      (memory.fill (local.get $events) (i32.const 0) (i32.const 32))
      (i64.store (local.get $events) (i64.load (local.get $asked)))
      (i32.store8 offset=10 (local.get $events) (i32.load8_u offset=8 (local.get $asked)))
      (if (i32.eqz (i32.load8_u offset=8 (local.get $asked)))
        (then
          (local.set $until (i64.load offset=24 (local.get $asked)))
          ;; A time, and no duration.
          (if (i32.and (i32.load16_u offset=40 (local.get $asked)) (i32.const 1))
            (then
              (local.set $until
                (i64.sub (local.get $until) (call $monotonic_time)))))
          (if (i64.gt_s (local.get $until) (local.get $longest))
            (then (local.set $longest (local.get $until))))))
      (local.set $asked (i32.add (local.get $asked) (i32.const 48)))
      (local.set $events (i32.add (local.get $events) (i32.const 32)))
      (br_if $next (i32.lt_u (local.get $asked) (local.get $end))))
    (global.set $waited (i64.add (global.get $waited) (local.get $longest)))
    (global.get $success))

  ;; What is not there.
  (func (export "clock_res_get") (param i32 i32) (result i32) (global.get $not_there))
  (func (export "proc_raise") (param i32) (result i32) (global.get $not_there)))
