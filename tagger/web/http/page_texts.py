"""Texts of errors on pages: what can be done there, in place of the commands that the texts of the errors name."""

from collections.abc import Mapping

from tagger import errors
from tagger.errors import TaggerError
from tagger.people import subjects, users

PAGE_TEXTS: Mapping[type[TaggerError], str] = {
    errors.CameraNotFound: "No photo was taken with a camera {name}. Cameras of your photos: {names}.",
    errors.CountryNotFound: "No landmark or photo is in the country {name}.{close} Choose a country in the filter, or in the library.",
    errors.EmbeddingsMissing: "The model {name} cannot compare photos, so it cannot learn places or find similar photos. Another model can; who runs the server chooses it.",
    errors.ExamplesMissing: "None of the photos can be an example. Choose photos that are classified.",
    errors.JobFinished: "Job {job} is {state} already, so you cannot {action} it.",
    errors.JobLocked: "Job {job} is unchanged: it was in use for more than {seconds:g} s. Try again.",
    errors.JobNotFound: "There is no job {job}.",
    errors.JobNotPausable: "Job {job} runs in a terminal and cannot be paused. Cancel it, and start it again later: photos that are classified are skipped.",
    errors.JobNotRetriable: "Job {job} writes metadata and cannot be retried. Write the metadata again: that includes only the photos that are not written yet.",
    errors.LandmarkExists: "The name {name} belongs to the landmark {slug}{place} already. If you mean that one, choose it. If not, give the new one a name of its own.",
    errors.LandmarkNotFound: "There is no landmark {name}.{close} Search for another name, or add it as a new landmark.",
    errors.PhotoIdNotFound: "The library has no photo with the number {photo_id}. It may have been removed; search for it in the library.",
    errors.PhotoNotClassified: "The photo {path} is not classified{why}. Start a job for its folder, then try again.",
    errors.ScheduleExists: "The schedule {name} exists already. Choose another name, or remove that one first.",
    errors.ScheduleNotFound: "There is no schedule {name}. The schedules are: {names}.",
    subjects.SubjectInvalid: "{subject} cannot be a subject. Copy it from the page that refused the sign-in, or from the audit log.",
    subjects.SubjectTaken: "The subject {subject} is linked to {name} already. Empty it there first if that is wrong.",
    users.UserExists: "There is already somebody with the name {name}. Choose another name.",
    users.UserNotFound: "There is no {name} any more. Open this page again, and see who is there.",
    errors.TripNotFound: "There is no trip {trip}. A trip gets a new name where more photos change its first day.",
}


def page_text(error: TaggerError) -> str:
    """Return the text of an error for a page."""
    template = PAGE_TEXTS.get(type(error))
    return str(error) if template is None else template.format(**error.values)
