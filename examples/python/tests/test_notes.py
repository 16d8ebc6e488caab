import tempfile
import unittest

from notes import Notes


class NotesTest(unittest.TestCase):
    def test_what_is_written_is_read(self):
        with tempfile.TemporaryDirectory() as folder:
            notes = Notes(folder)
            notes.write("first", "text")
            self.assertEqual(notes.names(), ["first"])
            self.assertEqual(notes.read("first"), "text")

    def test_names_do_not_leave_the_folder(self):
        with self.assertRaises(ValueError):
            Notes("/nowhere").read("../etc/passwd")
