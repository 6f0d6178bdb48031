// A function for Millstream. README.md says how it is built, tested and used.

namespace UdfWorld.wit.Exports.example.udf;

public class FunctionsExportsImpl : IFunctionsExports
{
    /// <summary>
    /// The domain of an e-mail address, in lower case; NULL where there is none.
    ///
    /// Nobody calls it for an email that is NULL: the answer is NULL. As option&lt;string&gt; in
    /// email_domain.wit it would come as null. An exception fails a row.
    /// </summary>
    public static string? EmailDomain(string email)
    {
        var at = email.LastIndexOf('@');
        return at < 1 || at == email.Length - 1 ? null : email[(at + 1)..].ToLowerInvariant();
    }
}
