// Runs Kafka's own commands one after the other in one JVM, since starting one costs a second.
//
//   java -cp 'JARS/*' Commands.java
//
// Reads commands from standard input, each a line: class name, arguments and, last, what the command
// reads from its own standard input, all in hexadecimal digits with blanks between. Answers with
// three lines: the exit status, then stdout and stderr in hexadecimal digits.
import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.locks.LockSupport;
import org.apache.kafka.common.utils.Exit;

public class Commands {
    // Commands catch all that is thrown, so one that exits is stopped where it stands.
    static volatile CompletableFuture<Integer> ended = new CompletableFuture<>();

    // Scala keeps what System.out was when it was first used, so that stays the same.
    static class Switch extends OutputStream {
        volatile ByteArrayOutputStream to = new ByteArrayOutputStream();

        @Override
        public void write(int b) {
            to.write(b);
        }

        @Override
        public void write(byte[] bytes, int from, int length) {
            to.write(bytes, from, length);
        }
    }

    static void exit(int status, String message) {
        ended.complete(status);
        while (true) {
            LockSupport.park();
        }
    }

    public static void main(String[] none) throws Exception {
        BufferedReader commands = new BufferedReader(new InputStreamReader(System.in));
        PrintStream answers = System.out;
        List<Runnable> hooks = new CopyOnWriteArrayList<>();
        Switch out = new Switch();
        Switch err = new Switch();
        System.setOut(new PrintStream(out, true));
        System.setErr(new PrintStream(err, true));
        Exit.setExitProcedure(Commands::exit);
        Exit.setHaltProcedure(Commands::exit);
        Exit.setShutdownHookAdder((name, hook) -> hooks.add(hook));
        for (String line; (line = commands.readLine()) != null; ) {
            String[] words = line.split(" ", -1);
            for (int i = 0; i < words.length; i++) {
                words[i] = new String(HexFormat.of().parseHex(words[i]), StandardCharsets.UTF_8);
            }
            out.to = new ByteArrayOutputStream();
            err.to = new ByteArrayOutputStream();
            String input = words[words.length - 1];
            System.setIn(new ByteArrayInputStream(input.getBytes(StandardCharsets.UTF_8)));
            ended = new CompletableFuture<>();
            start(() -> ended.complete(run(words)));
            int status = await();
            Thread closing = start(() -> hooks.forEach(Runnable::run));
            closing.join(5000);
            hooks.clear();
            System.out.flush();
            answers.println(status);
            answers.println(HexFormat.of().formatHex(out.to.toByteArray()));
            answers.println(HexFormat.of().formatHex(err.to.toByteArray()));
            answers.flush();
        }
        Runtime.getRuntime().halt(0);
    }

    // A command that hangs is left behind: its test fails at once rather than much later.
    static int await() throws Exception {
        try {
            return ended.get(60, TimeUnit.SECONDS);
        } catch (TimeoutException late) {
            return -1;
        }
    }

    static Thread start(Runnable work) {
        Thread thread = new Thread(work);
        thread.setDaemon(true);
        thread.start();
        return thread;
    }

    static int run(String[] words) {
        String[] arguments = Arrays.copyOfRange(words, 1, words.length - 1);
        try {
            Class.forName(words[0]).getMethod("main", String[].class).invoke(null, (Object) arguments);
            return 0;
        } catch (InvocationTargetException failed) {
            failed.getCause().printStackTrace();
            return 1;
        } catch (ReflectiveOperationException failed) {
            failed.printStackTrace();
            return 1;
        }
    }
}
