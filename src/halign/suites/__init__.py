"""Evaluation sets: questions, how replies to them are scored, and what changed since the model before."""

from halign.suites.answers import Stored
from halign.suites.contract import Answered, Bench, Question, Suite, SuiteSettings
from halign.suites.files import Files, SetFile
from halign.suites.registry import find, names, resolve
from halign.suites.results import Results, SuiteResult
from halign.suites.run import Job, evaluate
from halign.suites.subject import Subject

__all__ = [
    "Answered",
    "Bench",
    "Files",
    "Job",
    "Question",
    "Results",
    "SetFile",
    "Stored",
    "Subject",
    "Suite",
    "SuiteResult",
    "SuiteSettings",
    "evaluate",
    "find",
    "names",
    "resolve",
]
