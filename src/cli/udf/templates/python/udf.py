"""A function for Millstream. README.md says how it is built, tested and used, and millstream.py what
functions can be like."""

from millstream import *


@scalar
def email_domain(email: str) -> Optional[str]:
    """The domain of an e-mail address, in lower case; NULL where there is none.

    Nobody calls it for an email that is NULL: the answer is NULL. As Optional[str] it would come as
    None. An exception fails its row, and says why.
    """
    person, _, domain = email.rpartition("@")
    return domain.lower() if person and domain else None
