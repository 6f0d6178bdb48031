// The functions of all the examples, in C#.

namespace UdfWorld.wit.Exports.example.udf;

public class FunctionsExportsImpl : IFunctionsExports
{
    public static long Score(long n) => unchecked(n * 3 + 1);

    public static string? EmailDomain(string email)
    {
        var at = email.IndexOf('@');
        return at < 0 ? null : email[(at + 1)..];
    }
}
